"""What needs no MLflow store: the requirements of a packaged model. (The rest: tests/contract/test_registry.py.)"""

from study.tracking.registry import MODEL_URI, REQUIREMENTS, requirements


def test_requirements_are_pinned_to_versions_that_a_public_index_has() -> None:
    pinned = dict(line.split("==") for line in requirements())
    assert set(pinned) == set(REQUIREMENTS)
    assert not any("+" in version for version in pinned.values())


def test_a_models_address_names_an_alias_or_a_version() -> None:
    for uri in ("models:/clothing@champion", "models:/clothing/3", "models:/clothing/latest"):
        assert MODEL_URI.fullmatch(uri)
    for uri in ("models:/clothing", "models:/m-123", "models:/clothing/Production", "clothing@champion", "runs:/abc/model"):
        assert not MODEL_URI.fullmatch(uri)
