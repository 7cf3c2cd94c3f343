"""Predictions as `study predict` tells them: lines, a CSV file, and how far it is."""

import csv
import sys
from collections.abc import Iterable, Iterator, Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import Any, TextIO

from rich.console import Console
from rich.progress import track

from study.errors import DataError
from study.predict import Prediction
from study.printing.console import Result

SMALLEST_FOLLOWED = 64  # examples: fewer are there before a bar is read


def print_predictions(predictions: Sequence[Result]) -> None:
    """A line an example: its class and all probabilities, or its number, or why there is none."""
    for prediction in predictions:
        print(f"{prediction['image']}: {_answer(prediction)}")


def write_csv(predictions: Iterable[Prediction], classes: Sequence[str], file: Path) -> int:
    """A row an example, as they come: a file that is cut off holds what was told before. How many could not be read.

    Columns: image, class, probability, abstained, error, probability.<class>; of a model of numbers image, value, error.

    Args:
        file: `-` is standard output.
    Raises:
        DataError: if the file cannot be written.
    """
    answer = ("class", "probability", "abstained", "error") if classes else ("value", "error")
    columns = ("image", *answer, *(f"probability.{name}" for name in classes))
    num_unread = 0
    try:
        with nullcontext(sys.stdout) if str(file) == "-" else file.open("w", newline="", encoding="utf-8") as stream:
            writer = _writer(stream, columns)
            for prediction in predictions:
                writer.writerow(_row(prediction))
                num_unread += prediction.error is not None
    except OSError as error:
        raise DataError(
            f"a table of predictions must be writable, but {file} is not: {error.strerror}. Name another."
        ) from None
    return num_unread


def follow(predictions: Iterator[Prediction], num_examples: int) -> Iterable[Prediction]:
    """The same; of many, a bar says how far they are, on stderr and only where a person looks."""
    console = Console(stderr=True)
    if not console.is_terminal or num_examples < SMALLEST_FOLLOWED:
        return predictions
    return track(predictions, description="photos", total=num_examples, console=console, transient=True)


def _writer(stream: TextIO, columns: Sequence[str]) -> "csv.DictWriter[str]":
    writer = csv.DictWriter(stream, columns, restval="", lineterminator="\n")
    writer.writeheader()
    return writer


def _row(prediction: Prediction) -> dict[str, Any]:
    if prediction.error is not None:
        return {"image": prediction.name, "error": prediction.error}
    if prediction.value is not None:
        return {"image": prediction.name, "value": prediction.value}
    return {
        "image": prediction.name,
        "class": "" if prediction.is_abstained else prediction.best_class,
        "probability": prediction.probability,
        "abstained": str(bool(prediction.is_abstained)).lower(),
        **{f"probability.{name}": value for name, value in prediction.probabilities.items()},
    }


def _answer(prediction: Result) -> str:
    if "error" in prediction:
        return f"could not be read: {prediction['error']}"
    if "value" in prediction:
        return f"{prediction['value']:,.4g}"
    others = sorted(prediction["probabilities"].items(), key=lambda item: -item[1])
    shares = ", ".join(f"{name} {probability:.3f}" for name, probability in others)
    return f"{prediction['class'] or 'unsure'} ({shares})"
