"""The `[data]` part of a definition: which photos, what is asked about them, and how they are split."""

from typing import Annotated, Any, Literal, Self

from pydantic import BeforeValidator, Field, Strict, model_validator

from study.trial import Plain

Views = Literal["each", "pair"]
Task = Literal["class", "number"]
Geocode = Literal["offline", "online"]
Share = Annotated[float, Field(gt=0, lt=1)]

SOURCES = ("folder", "table", "torchvision", "generated")
GENERATED_TARGETS = ("type", "country", "view")
# Keys that only some sources take; all others go with every source.
KEYS_OF_SOME = {
    "images": ("table",),
    "also_needs": ("table",),
    "group": ("table",),
    "task": ("table",),
    "log_target": ("table",),
    "places": ("table",),
    "target": ("table", "generated"),
    "views": ("table", "generated"),
    "num_photos": ("generated",),
    "seed": ("generated",),
}
# One, and several of them.
IN_WORDS = {
    "folder": ("a folder", "folders"),
    "table": ("a table", "tables"),
    "torchvision": ("a torchvision data set", "torchvision data sets"),
    "generated": ("generated photos", "generated photos"),
}
TABLE_ENDINGS = (".csv", ".tsv", ".tab", ".parquet")


def _as_list(value: Any) -> Any:
    """One name as a list of one."""
    return (value,) if isinstance(value, str) else value


Column = Annotated[str, Field(min_length=1)]
Columns = Annotated[tuple[Column, ...], Strict(False), BeforeValidator(_as_list), Field(min_length=1)]


class SplitDefinition(Plain):
    """Shares of the photos held out, where the source brings no split of its own."""

    validation: Share = Field(default=0.15, description="not used with folds, each of which is validation once")
    test: Share = 0.15
    seed: int = Field(default=0, ge=0)
    folds: int = Field(default=1, ge=1, description="1: one cut; k: the photos outside test in k parts")
    repeats: int = Field(default=1, ge=1, description="folds only: how often they are cut anew")

    @model_validator(mode="after")
    def _leaves_training_photos(self) -> Self:
        if self.validation + self.test >= 1:
            raise ValueError(
                f"validation + test must be under 1, but are {self.validation} + {self.test}. Leave a share for training"
            )
        return self

    @model_validator(mode="after")
    def _repeats_folds(self) -> Self:
        if self.repeats > 1 and self.folds == 1:
            raise ValueError(
                f"`repeats` needs folds, but is {self.repeats} with folds = 1. Give `folds` 2 or more, or remove it"
            )
        return self


class DuplicatesDefinition(Plain):
    """Photos that show the same: how alike, and what is done about them."""

    max_distance: int = Field(default=4, ge=0, le=64, description="bits of the 64 of a perceptual hash; 0: equal hashes only")
    keep: Literal["one side"] = Field(default="one side", description="duplicates stay, all in one split")


class PlacesDefinition(Plain):
    """Columns with places in words, from which the target `country` is found."""

    columns: Columns = Field(description="tried in this order: the first that says something known")
    geocode: Geocode = Field(default="offline", description="online: what is not found here is asked of OpenStreetMap")

    @model_validator(mode="after")
    def _are_distinct(self) -> Self:
        _check_distinct("columns", self.columns)
        return self


class DataDefinition(Plain):
    """Where the photos come from (exactly one source), what is to be told from them, and how they are packed."""

    folder: str | None = Field(default=None, description="root/class/*.jpg or root/{train,val,test}/class/*.jpg")
    table: str | None = Field(default=None, description=".csv, .tsv or .parquet; photos lie in its folder")
    torchvision: str | None = Field(default=None, description="a classification data set of torchvision, by its class name")
    generated: Literal["instruments"] | None = Field(default=None, description="drawn here, for offline use")

    images: Columns | None = Field(default=None, description="table only: the columns with photos, one for each view")
    also_needs: Columns | None = Field(
        default=None, description="table only: columns of photos that a row must have as well, though they are not shown"
    )
    target: str | None = Field(
        default=None,
        min_length=1,
        description="table: a column, view (which of the images), country (with [data.places]); generated: type, country, view",
    )
    group: Column | None = Field(default=None, description="table only: photos of one group share a split; default: the row")
    task: Task = Field(default="class", description="table only: tell classes apart, or predict a number")
    log_target: bool = Field(default=False, description="numbers only: predict the natural logarithm")
    views: Views = Field(default="each", description="every photo for itself | all photos of a row together")
    places: PlacesDefinition | None = Field(default=None, description="table only: where the target country comes from")

    num_photos: int = Field(default=600, ge=60, description="generated only: how many to draw")
    seed: int = Field(default=0, ge=0, description="generated only: which collection is drawn")

    image_size: int = Field(default=224, ge=16, le=1024, description="pixels; square, aspect ratio kept by padding")
    max_unreadable: float = Field(default=0.05, ge=0, le=1, description="share of unreadable photos that is put up with")
    min_class_size: int = Field(default=1, ge=1, description="groups (independent photos) that a class must have")
    small_classes: Literal["error", "drop", "other"] = Field(
        default="error", description="what is done about smaller ones: stop | leave them out | call them other"
    )
    split: SplitDefinition = SplitDefinition()
    duplicates: DuplicatesDefinition = DuplicatesDefinition()

    @property
    def source(self) -> str:
        """Which of the sources is given: "folder", "table", "torchvision" or "generated"."""
        return next(name for name in SOURCES if getattr(self, name) is not None)

    @property
    def is_view_the_target(self) -> bool:
        """Whether the view is to be told; "view" is a column like any other where the table has one column of photos only."""
        return self.target == "view" and (self.generated is not None or len(self.images or ()) > 1)

    @property
    def _place_columns(self) -> tuple[str, ...]:
        return self.places.columns if self.places is not None else ()

    @model_validator(mode="after")
    def _is_consistent(self) -> Self:
        self._check_source()  # first: what else is allowed depends on it
        if self.table is not None:
            self._check_table(self.table)
            self._check_places()
        elif self.generated is not None:
            self._check_generated()
        self._check_pair()
        self._check_task()
        return self

    def _check_source(self) -> None:
        given = [name for name in SOURCES if getattr(self, name) is not None]
        if len(given) != 1:
            found = {0: "neither", 2: f"both {' and '.join(given)}"}.get(len(given), ", ".join(given))
            raise ValueError(f"exactly one source must be given: {' | '.join(SOURCES)}, but got {found}. Keep one of them")
        for key, sources in KEYS_OF_SOME.items():
            if key in self.model_fields_set and self.source not in sources:
                takers = " and ".join(IN_WORDS[name][1] for name in sources)
                raise ValueError(f"`{key}` is for {takers} only, but the source is {IN_WORDS[self.source][0]}. Remove it")

    def _check_table(self, table: str) -> None:
        if not table.lower().endswith(TABLE_ENDINGS):
            raise ValueError(f"`table` must end in one of {', '.join(TABLE_ENDINGS)}, but is {table!r}. Save it as one of them")
        if self.images is None:
            raise ValueError("a table needs `images`, but there is none. Name the column, or columns, with the photos")
        _check_distinct("images", self.images)
        _check_distinct("also_needs", self.also_needs or ())
        shown = next((name for name in self.also_needs or () if name in self.images), None)
        if shown is not None:
            raise ValueError(f"`also_needs` is for photos that are not shown, but names {shown!r} of `images`. Remove it there")
        if self.target is None:
            raise ValueError("a table needs `target`, but there is none. Name the column to learn")
        for key, names in (("target", (self.target,)), ("group", (self.group,)), ("places.columns", self._place_columns)):
            photos = next((name for name in names if name in self.images), None)
            if photos is not None:
                raise ValueError(f"`{key}` must not be a column of photos, but names {photos!r}. Name another column")

    def _check_places(self) -> None:
        if self.places is not None and self.target != "country":
            raise ValueError(
                f"[data.places] makes the target `country`, but `target` is {self.target!r}. "
                f'Write target = "country", or remove [data.places]'
            )

    def _check_pair(self) -> None:
        num_views = len(self.images or ())
        if self.table is not None and self.views == "pair" and num_views < 2:
            raise ValueError(
                f'views = "pair" needs 2 columns of photos, but `images` has {num_views}. Add one, or use views = "each"'
            )
        if self.views == "pair" and self.is_view_the_target:
            raise ValueError('target = "view" needs views = "each": a pair shows every view. Change one of them')

    def _check_generated(self) -> None:
        if self.target is not None and self.target not in GENERATED_TARGETS:
            raise ValueError(
                f"`target` of generated photos must be one of {', '.join(GENERATED_TARGETS)}, but is {self.target!r}. Use one"
            )

    def _check_task(self) -> None:
        if self.log_target and self.task != "number":
            raise ValueError('`log_target` needs a number, but `task` is "class". Write task = "number", or remove it')
        if self.task == "number" and (self.places is not None or self.is_view_the_target):
            raise ValueError(f'task = "number" needs a column of numbers, but `target` is {self.target!r}. Name another column')
        small = sorted({"min_class_size", "small_classes"} & self.model_fields_set)
        if self.task == "number" and small:
            raise ValueError(f'`{small[0]}` is for classes only, but `task` is "number". Remove it')


def _check_distinct(key: str, names: tuple[str, ...]) -> None:
    repeated = next((name for name in names if names.count(name) > 1), None)
    if repeated is not None:
        raise ValueError(f"`{key}` must name each column once, but has {repeated!r} twice. Remove one")
