"""Recipes at several freeze depths: do heads tell what is good unfrozen?"""

from study.analysis.findings import DepthAgreement
from study.analysis.report.material import Material
from study.analysis.report.parts import Column, Section, Table
from study.analysis.report.words import sentence

SHOWN_RECIPES = 12


def depths_section(material: Material) -> Section | None:
    """How far ranks agree, and the values behind it; None where no three recipes were tried at two depths."""
    found = material.comparison.depths
    if not found:
        return None
    told = [sentence(f"{_whose(material, one)}{one.sentence}") for one in found]
    told = [f"{text[:1].upper()}{text[1:]}" for text in told]
    return Section("depths", "Do heads tell what is good unfrozen?", told, [_table(material, one) for one in found])


def _whose(material: Material, one: DepthAgreement) -> str:
    return f"{one.study}: " if material.has_several_studies else ""


def _table(material: Material, one: DepthAgreement) -> Table:
    quality, (deepest, other) = material.quality, one.depths
    columns = (Column("trial", True), Column(f"at {deepest:g}", True), Column(f"at {other:g}", True))
    rows = [(material.label(one.study, trial), quality.text(head), quality.text(deeper)) for trial, head, deeper in one.recipes]
    caption = (
        f"{_whose(material, one)}the same recipes at freeze depths {deepest:g} and {other:g}, the best at {deepest:g} first"
    )
    return Table(caption[:1].upper() + caption[1:], columns, rows, shown=SHOWN_RECIPES, is_sortable=True)
