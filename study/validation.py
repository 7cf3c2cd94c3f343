"""pydantic's findings as the one line that a user needs: rule, what was given, where, the fix."""

import types
from typing import Any, Union, get_args, get_origin

from pydantic import BaseModel, ValidationError

from study.errors import DefinitionError, nearest


def explain(error: ValidationError, model: type[BaseModel], where: str, prefix: str = "") -> DefinitionError:
    """The first finding of a failed validation as an error to raise.

    Args:
        model: what was validated; its keys are what a misspelt one is compared with.
        where: file and table, for the message.
        prefix: dotted path from the file's root to what was validated.
    """
    findings = error.errors()
    # A misspelt key is also a missing one: the misspelling is the news.
    finding = next((found for found in findings if found["type"] == "extra_forbidden"), findings[0])
    path = [str(part) for part in finding["loc"] if not str(part).startswith("function-")]
    name = prefix + ".".join(path)
    given = finding["input"]
    context = finding.get("ctx", {})
    match finding["type"]:
        case "extra_forbidden":
            known = _fields_at(model, path[:-1])
            return DefinitionError(f"`{name}` in {where} is no known key. {nearest(path[-1], known)}")
        case "missing":
            return DefinitionError(f"`{name}` is required in {where}. Add it.")
        case "literal_error":
            expected = str(context["expected"]).replace("'", "").replace(" or ", ", ").split(", ")
            hint = nearest(str(given), expected)
            return DefinitionError(f"`{name}` must be one of {', '.join(expected)}, but is {given!r} in {where}. {hint}")
        case "string_pattern_mismatch":
            return DefinitionError(
                f"`{name}` must match {context['pattern']}, but is {given!r} in {where}. Use letters, digits, '.', '_' and '-'."
            )
        case "value_error":
            subject = f"`{name.rstrip('.')}` in {where}: " if name else f"{where}: "
            return DefinitionError(f"{subject}{context['error']}.")
        case _:
            rule = finding["msg"].removeprefix("Input ").removeprefix("should ")
            return DefinitionError(f"`{name}` must {rule}, but is {given!r} in {where}. Change the value.")


def _fields_at(model: type[BaseModel], path: list[str]) -> list[str]:
    """The keys that the table at `path` below `model` takes."""
    for part in path:
        if part in model.model_fields:
            model = _model_in(model.model_fields[part].annotation) or model
    return list(model.model_fields)


def _model_in(annotation: Any) -> type[BaseModel] | None:
    """The model that an annotation names, `X | None` and `tuple[X, ...]` unwrapped."""
    if get_origin(annotation) in (Union, types.UnionType, tuple):
        return next((model for arg in get_args(annotation) if (model := _model_in(arg))), None)
    return annotation if isinstance(annotation, type) and issubclass(annotation, BaseModel) else None
