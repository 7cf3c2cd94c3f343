"""The grammar of a definition: what it takes, and the one line that each mistake gets."""

from pathlib import Path

import pytest

from study.data_definition import DataDefinition
from study.definition import Metric, Objective, StudyDefinition, load_definition, parse_definition
from study.errors import DefinitionError
from study.space import Choices, Range

TEXT = """
name = "tiny"
[data]
generated = "instruments"
[trial]
epochs = 3
[space]
backbone = { choices = ["alexnet", "resnet18"] }
"optimizer.momentum" = { low = 0.8, high = 0.99, when = { "optimizer.name" = ["sgd"] } }
"optimizer.name" = { choices = ["adam", "sgd"] }
"optimizer.lr" = { low = 1e-5, high = 1e-1, log = true }
[search]
trials = 7
"""


def parse(text: str) -> StudyDefinition:
    return parse_definition(text, Path("/somewhere/tiny.toml"), shown_as="tiny.toml")


def test_a_definition_holds_what_its_file_says_and_defaults_for_the_rest() -> None:
    definition = parse(TEXT)
    assert definition.name == definition.experiment_name == "tiny"
    assert definition.trial.epochs == 3
    assert definition.trial.head == "replace"
    assert definition.num_trials == 7
    assert definition.objective.key == "val_balanced_accuracy"
    assert definition.space.parameters["backbone"] == Choices(choices=("alexnet", "resnet18"))
    assert definition.space.parameters["optimizer.lr"] == Range(low=1e-5, high=1e-1, log=True)


def test_keys_that_others_depend_on_come_first() -> None:
    keys = [key for key, _ in parse(TEXT).space.items()]
    assert keys.index("optimizer.name") < keys.index("optimizer.momentum")


def test_nested_tables_and_quoted_paths_mean_the_same() -> None:
    nested = TEXT.replace('"optimizer.lr" = {', "optimizer.lr = {")
    assert parse(nested).space == parse(TEXT).space


def test_the_digest_changes_with_a_value_and_not_with_a_comment() -> None:
    digest = parse(TEXT).digest
    assert parse(TEXT + "# a remark\n").digest == digest
    assert parse(TEXT.replace("epochs = 3", "epochs = 4")).digest != digest


def test_paths_are_relative_to_the_definition_file() -> None:
    assert parse(TEXT).path_of("../photos") == Path("/photos")


def test_a_fractional_key_is_searched_over_fractions_even_between_whole_bounds() -> None:
    text = TEXT.replace("[search]", "freeze_depth = { low = 0, high = 1 }\n[search]")
    distribution = parse(text).space.parameters["freeze_depth"]
    assert isinstance(distribution, Range)
    assert not distribution.is_integer


def test_a_grid_counts_conditional_recipes_once() -> None:
    text = TEXT.replace("trials = 7", 'sampler = "grid"').replace(
        "low = 1e-5, high = 1e-1, log = true", "choices = [0.01, 0.1]"
    )
    text = text.replace("low = 0.8, high = 0.99,", "choices = [0.8, 0.9, 0.99],")
    # adam: 2 backbones × 2 rates; sgd: × 3 momenta
    assert parse(text).num_trials == 2 * 2 + 2 * 2 * 3


def test_a_range_with_a_step_is_visited_from_end_to_end() -> None:
    assert Range(low=0.0, high=1.0, step=0.25).grid() == (0.0, 0.25, 0.5, 0.75, 1.0)
    assert Range(low=1, high=4).grid() == (1, 2, 3, 4)


@pytest.mark.parametrize("option", ["min_resource = 2", "reduction_factor = 4"])
def test_a_pruner_keeps_its_own_options(option: str) -> None:
    text = f'{TEXT}[search.pruner]\nname = "hyperband"\n{option}\n'
    name, value = option.split(" = ")
    assert parse(text).search.pruner.options == {name: int(value)}


TABLE = 'table = "x.csv"\ntarget = "y"\n'


def data_of(text: str) -> DataDefinition:
    return parse(TEXT.replace('generated = "instruments"', text)).data


def test_a_table_has_defaults_for_all_but_its_photos_and_target() -> None:
    data = data_of(TABLE + 'images = "photo"')
    assert (data.source, data.images, data.target, data.group) == ("table", ("photo",), "y", None)
    assert (data.views, data.task, data.log_target, data.places) == ("each", "class", False, None)
    assert (data.max_unreadable, data.min_class_size, data.small_classes) == (0.05, 1, "error")
    assert (data.split.folds, data.split.repeats) == (1, 1)
    assert (data.duplicates.max_distance, data.duplicates.keep) == (4, "one side")


def test_a_table_takes_all_that_can_be_said_of_it() -> None:
    data = data_of(
        'table = "x.parquet"\nimages = ["top", "back"]\ntarget = "country"\ngroup = "owner"\n'
        'views = "pair"\nmin_class_size = 5\nsmall_classes = "other"\n'
        '[data.places]\ncolumns = ["country", "city"]\ngeocode = "online"\n'
        "[data.split]\nfolds = 5\nrepeats = 2\n[data.duplicates]\nmax_distance = 0\n"
    )
    assert data.images == ("top", "back")
    assert data.places is not None
    assert (data.places.columns, data.places.geocode) == (("country", "city"), "online")
    assert (data.split.folds, data.split.repeats, data.duplicates.max_distance) == (5, 2, 0)


def test_view_is_the_target_where_there_are_several_and_else_a_column() -> None:
    assert data_of('table = "x.csv"\nimages = ["a", "b"]\ntarget = "view"').is_view_the_target
    assert not data_of('table = "x.csv"\nimages = "a"\ntarget = "view"\ntask = "number"').is_view_the_target
    assert data_of('generated = "instruments"\ntarget = "view"').is_view_the_target


NUMBERS = TABLE + 'images = "photo"\ntask = "number"'


def objective_of(data: str, objective: str = "") -> Objective:
    return parse(TEXT.replace('generated = "instruments"', f"{data}\n[objective]\n{objective}")).objective


def test_the_default_metric_is_balanced_accuracy_of_classes_and_the_mean_error_of_numbers() -> None:
    classes, numbers = objective_of('generated = "instruments"'), objective_of(NUMBERS, 'direction = "minimize"')
    assert (classes.key, classes.is_maximized) == ("val_balanced_accuracy", True)
    assert (numbers.key, numbers.is_maximized) == ("val_mae", False)
    without_table = parse(TEXT.replace('generated = "instruments"', NUMBERS)).objective
    assert without_table == Objective(metric="mae")


@pytest.mark.parametrize(
    ("metric", "is_maximized"),
    [
        *[("balanced_accuracy", True), ("accuracy", True), ("macro_f1", True), ("top5_accuracy", True), ("r2", True)],
        *[("loss", False), ("calibration_error", False), ("mae", False)],
    ],
)
def test_each_metric_has_its_one_direction(metric: Metric, is_maximized: bool) -> None:
    data = NUMBERS if metric in ("mae", "r2") else 'generated = "instruments"'
    objective = objective_of(data, f'metric = "{metric}"')
    assert (objective.metric, objective.is_maximized) == (metric, is_maximized)
    assert objective.is_better(2.0, 1.0) == is_maximized == (not objective.is_better(1.0, 2.0))
    assert not objective.is_better(1.0, 1.0)


def test_a_loss_can_be_improved_of_numbers_too() -> None:
    assert objective_of(NUMBERS, 'metric = "loss"').metric == "loss"


def test_the_five_most_probable_are_no_objective_among_five_classes() -> None:
    Objective(metric="top5_accuracy").check_classes(6)
    Objective().check_classes(2)
    with pytest.raises(DefinitionError, match=r"needs 6 classes or more, but \[data\] has 5\. Use accuracy"):
        Objective(metric="top5_accuracy").check_classes(5)


def test_what_is_done_about_classes_may_be_named_where_the_target_is_a_number_if_it_is_nothing() -> None:
    text = TEXT.replace('generated = "instruments"', NUMBERS)
    text = text.replace("epochs = 3", 'epochs = 3\nimbalance = "none"\nlabel_smoothing = 0.0')
    assert parse(text).trial.imbalance == "none"


MISTAKES = {
    "unknown key": ("epochs = 3", "epoch = 3", ("`trial.epoch`", "Did you mean `epochs`?")),
    "unknown key of [data]": (
        'generated = "',
        'image_sise = 3\ngenerated = "',
        ("`data.image_sise`", "Did you mean `image_size`?"),
    ),
    "unknown table": ("[search]", "[serach]", ("`serach`", "Did you mean `search`?")),
    "wrong type": ("epochs = 3", 'epochs = "3"', ("`trial.epochs`", "integer", "'3'")),
    "a truth value is no number": ("epochs = 3", "epochs = true", ("`trial.epochs`", "integer", "True")),
    "low over high": ("low = 1e-5", "low = 1", ("`optimizer.lr`", "`low < high` must hold", "low=1, high=0.1", "Swap")),
    "log range at 0": ("low = 1e-5", "low = 0", ("`optimizer.lr`", "`low > 0` must hold with log = true")),
    "condition on an unknown key": (
        '"optimizer.name" = ["sgd"]',
        '"optimizer.nam" = ["sgd"]',
        ("condition of `optimizer.momentum`", "`optimizer.nam`", "Did you mean `optimizer.name`?"),
    ),
    "condition that never holds": ('= ["sgd"] }', '= ["rmsprop"] }', ("can never hold", "'adam', 'sgd'", "'rmsprop'")),
    "conditions in a circle": (
        '"optimizer.name" = { choices = ["adam", "sgd"] }',
        '"optimizer.name" = { choices = ["adam", "sgd"], when = { "optimizer.momentum" = [0.9] } }',
        ("condition", "optimizer.momentum"),
    ),
    "searched key that no trial has": (
        '"optimizer.lr"',
        '"optimizer.learning_rate"',
        ("`optimizer.learning_rate`", "no key of a trial"),
    ),
    "choice that no trial takes": ('"adam", "sgd"', '"adam", "sdg"', ("optimizer.name", "'sdg'", "Did you mean `sgd`?")),
    "choice of the wrong type": ('"alexnet", "resnet18"', "3", ("`backbone`", "3")),
    "misspelt distribution": ('choices = ["alexnet"', 'choise = ["alexnet"', ("`backbone.choise`", "Did you mean `choices`?")),
    "the same choice twice": ('"alexnet", "resnet18"', '"alexnet", "alexnet"', ("`backbone`", "differ from each other")),
    "no choice": ('["alexnet", "resnet18"]', "[]", ("backbone",)),
    "fixed value among the searched": (
        '{ choices = ["alexnet", "resnet18"] }',
        '"alexnet"',
        ("`backbone`", "Move a fixed value to [trial]"),
    ),
    "bound outside what a trial takes": ("high = 0.99", "high = 1.5", ("optimizer.momentum", "less than 1", "1.5")),
    "no name": ('name = "tiny"', "", ("`name` is required",)),
    "name that no folder can have": ('"tiny"', '"ti/ny"', ("`name`", "'ti/ny'", "letters, digits")),
    "no source": ('generated = "instruments"', "", ("exactly one source", "neither")),
    "two sources": ('generated = "instruments"', 'generated = "instruments"\nfolder = "x"', ("exactly one source", "both")),
    "option of another source": (
        'generated = "instruments"',
        'folder = "x"\nnum_photos = 100',
        ("`num_photos`", "generated photos only"),
    ),
    **{
        f"[data] {name}": ('generated = "instruments"', data, expected)
        for name, (data, expected) in {
            "three sources": (
                'folder = "x"\ntable = "x.csv"\ntorchvision = "DTD"',
                ("exactly one source", "folder, table, torchvision"),
            ),
            "table of another kind": ('table = "x.xlsx"', (".csv, .tsv, .tab, .parquet", "'x.xlsx'")),
            "table without photos": ('table = "x.csv"', ("`images`", "Name the column")),
            "no columns of photos": (TABLE + "images = []", ("`data.images`", "at least 1")),
            "one column of photos twice": (TABLE + 'images = ["a", "a"]', ("`images`", "'a' twice")),
            "table without target": ('table = "x.csv"\nimages = "a"', ("`target`", "Name the column to learn")),
            "photos as target": (TABLE + 'images = "y"', ("`target` must not be a column of photos", "'y'")),
            "photos as group": (TABLE + 'images = "a"\ngroup = "a"', ("`group` must not be a column of photos",)),
            "images of a folder": ('folder = "x"\nimages = "a"', ("`images` is for tables only", "a folder")),
            "target of a data set": (
                'torchvision = "DTD"\ntarget = "x"',
                ("`target` is for tables and generated photos only",),
            ),
            "unknown generated target": ('generated = "instruments"\ntarget = "age"', ("type, country, view", "'age'")),
            "pair of one": (TABLE + 'images = "a"\nviews = "pair"', ('views = "pair" needs 2 columns', "has 1")),
            "view of a pair": (
                'table = "x.csv"\nimages = ["a", "b"]\nviews = "pair"\ntarget = "view"',
                ('target = "view" needs views = "each"',),
            ),
            "view of a generated pair": (
                'generated = "instruments"\nviews = "pair"\ntarget = "view"',
                ('target = "view" needs views = "each"',),
            ),
            "places for another target": (
                TABLE + 'images = "a"\n[data.places]\ncolumns = ["city"]',
                ("[data.places] makes the target `country`", "'y'"),
            ),
            "no places": (TABLE + 'images = "a"\n[data.places]\ncolumns = []', ("`data.places.columns`", "at least 1")),
            "logarithm of a class": (TABLE + 'images = "a"\nlog_target = true', ("`log_target` needs a number",)),
            "view as a number": (
                'table = "x.csv"\nimages = ["a", "b"]\ntask = "number"\ntarget = "view"',
                ('task = "number" needs a column of numbers', "'view'"),
            ),
            "small classes of numbers": (
                TABLE + 'images = "a"\ntask = "number"\nmin_class_size = 3',
                ("`min_class_size` is for classes only",),
            ),
            "misspelt rule": (TABLE + 'images = "a"\nsmall_classes = "others"', ("Did you mean `other`?",)),
            "share over one": (
                TABLE + 'images = "a"\nmax_unreadable = 5',
                ("`data.max_unreadable`", "less than or equal to 1"),
            ),
            "repeats without folds": (TABLE + 'images = "a"\n[data.split]\nrepeats = 3', ("`repeats` needs folds",)),
            "too many bits": (
                TABLE + 'images = "a"\n[data.duplicates]\nmax_distance = 65',
                ("`data.duplicates.max_distance`",),
            ),
        }.items()
    },
    "split that leaves nothing": ("[trial]", "[data.split]\ntest = 0.9\n[trial]", ("validation + test must be under 1",)),
    "direction against the metric": (
        "[trial]",
        '[objective]\nmetric = "loss"\ndirection = "maximize"\n[trial]',
        ("better lower",),
    ),
    "mean error to be maximized": (
        'generated = "instruments"',
        f'{NUMBERS}\n[objective]\ndirection = "maximize"',
        ("mae is better lower", "'minimize'"),
    ),
    "metric of numbers for classes": (
        "[trial]",
        '[objective]\nmetric = "mae"\n[trial]',
        ("`objective.metric` must be one of balanced_accuracy, accuracy", "task = 'class'", "'mae'", "Use balanced_accuracy"),
    ),
    "metric of classes for numbers": (
        'generated = "instruments"',
        f'{NUMBERS}\n[objective]\nmetric = "macro_f1"',
        ("`objective.metric` must be one of mae, r2, loss", "task = 'number'", "'macro_f1'", "Use mae"),
    ),
    "misspelt metric": (
        "[trial]",
        '[objective]\nmetric = "acuracy"\n[trial]',
        ("`objective.metric`", "Did you mean `accuracy`?"),
    ),
    "imbalance of numbers": (
        'generated = "instruments"\n[trial]',
        f'{NUMBERS}\n[trial]\nimbalance = "weighted_loss"',
        ("`imbalance` is for classes only", "'weighted_loss'", "[trial]", "Remove it"),
    ),
    "searched imbalance of numbers": (
        'generated = "instruments"\n[trial]\nepochs = 3\n[space]',
        f'{NUMBERS}\n[space]\nimbalance = {{ choices = ["none", "balanced_subset"] }}',
        ("`imbalance` is for classes only", "'balanced_subset'", "[space]", "Remove it"),
    ),
    "smoothed numbers": (
        'generated = "instruments"\n[trial]',
        f"{NUMBERS}\n[trial]\nlabel_smoothing = 0.1",
        ("`label_smoothing` is for classes only", "0.1", "[trial]"),
    ),
    "searched smoothing of numbers": (
        'generated = "instruments"\n[trial]\nepochs = 3\n[space]',
        f"{NUMBERS}\n[space]\nlabel_smoothing = {{ low = 0.0, high = 0.2 }}",
        ("`label_smoothing` is for classes only", "0.2", "[space]"),
    ),
    "endless grid": ("trials = 7", 'sampler = "grid"', ("a grid must be finite", "optimizer")),
    "unknown sampler": ("trials = 7", 'sampler = "tpee"', ("`search.sampler.name`", "Did you mean `tpe`?")),
    "negative learning rate": (
        "[space]",
        "[trial.optimizer]\nlr = -1.0\n[space]",
        ("`trial.optimizer.lr`", "greater than 0", "-1.0"),
    ),
    "no table": ("[data]", "objective = 3\n[data]", ("`objective`", "3")),
    "no TOML": ('"tiny"', '"tiny', ("valid TOML", "line 2")),
}


@pytest.mark.parametrize(("old", "new", "expected"), MISTAKES.values(), ids=MISTAKES.keys())
def test_a_mistake_gets_one_line_that_names_rule_value_file_and_fix(old: str, new: str, expected: tuple[str, ...]) -> None:
    assert old in TEXT
    with pytest.raises(DefinitionError) as caught:
        parse(TEXT.replace(old, new))
    message = str(caught.value)
    assert "\n" not in message
    for part in (*expected, "tiny.toml"):
        assert part in message


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(DefinitionError, match=r"there is no .*absent\.toml"):
        load_definition(tmp_path / "absent.toml")


def test_a_file_that_is_no_text_is_named(tmp_path: Path) -> None:
    file = tmp_path / "photo.toml"
    file.write_bytes(b"\xff\xd8\xff\xe0")
    with pytest.raises(DefinitionError, match="cannot be read as UTF-8"):
        load_definition(file)


def test_a_search_takes_all_that_can_be_said_of_it() -> None:
    definition = parse(
        TEXT.replace("trials = 7", "trials = 7\nsampler = { name = 'tpe', n_startup_trials = 5 }\nwarm_start = ['other']")
        + "[search.stop]\nhours = 2\ngpu_hours = 1.5\ntarget = 0.9\npatience = 10\n"
        '[[search.enqueue]]\nbackbone = "resnet18"\noptimizer.lr = 0.01\n'
        '[[search.enqueue]]\noptimizer = { name = "sgd", momentum = 0.9 }\n'
        '[objective]\nconstraints = ["parameters_m <= 30", "latency_ms<=2e1"]\n'
    )
    search = definition.search
    assert (search.sampler.name, search.sampler.options) == ("tpe", {"n_startup_trials": 5})
    assert (search.stop.hours, search.stop.gpu_hours, search.stop.target, search.stop.patience) == (2.0, 1.5, 0.9, 10)
    assert search.enqueue == (
        {"backbone": "resnet18", "optimizer.lr": 0.01},
        {"optimizer.name": "sgd", "optimizer.momentum": 0.9},
    )
    assert search.warm_start == ("other",)
    assert [limit.text for limit in definition.objective.limits] == ["parameters_m <= 30", "latency_ms <= 20"]
    assert definition.objective.quantities == {"parameters_m", "latency_ms"}


def test_a_sampler_s_or_pruner_s_name_alone_stands_for_its_table() -> None:
    search = parse(TEXT.replace("trials = 7", 'sampler = "qmc"\npruner = "hyperband"')).search
    assert (search.sampler.name, search.sampler.options) == ("qmc", {})
    assert (search.pruner.name, search.pruner.options) == ("hyperband", {})


def test_two_objectives_are_not_pruned() -> None:
    assert parse(TEXT + '[objective]\ncost = "flops_g"\n').search.pruner.name == "none"
    assert parse(TEXT).search.pruner.name == "median"


def test_brute_force_counts_its_trials_as_a_grid_does() -> None:
    text = TEXT.replace("trials = 7", 'sampler = "brute_force"').replace(
        "low = 1e-5, high = 1e-1, log = true", "choices = [0.1]"
    )
    assert parse(text.replace("low = 0.8, high = 0.99,", "choices = [0.8, 0.9],")).num_trials == 2 + 2 * 2


def test_a_whole_number_is_a_fraction_where_the_space_has_fractions() -> None:
    point = parse(TEXT.replace("high = 1e-1", "high = 2.0") + "[[search.enqueue]]\noptimizer.lr = 1\n").search.enqueue[0]
    assert isinstance(point["optimizer.lr"], float)


ENQUEUE = "[[search.enqueue]]\n"
SEARCH_MISTAKES = {
    "unknown key of a point": (ENQUEUE + "optimizer.lrr = 0.1", ("`optimizer.lrr`", "[[search.enqueue]] 1", "`optimizer.lr`?")),
    "fixed key of a point": (ENQUEUE + "epochs = 3", ("`epochs`", "no searched key")),
    "choice that is none": (ENQUEUE + 'backbone = "resnet19"', ("one of alexnet, resnet18", "'resnet19'", "`resnet18`?")),
    "number outside": (ENQUEUE + "optimizer.lr = 1.0", ("a number from 1e-05 to 0.1", "1.0")),
    "truth value as number": (ENQUEUE + "optimizer.lr = true", ("a number from", "True")),
    "second point": (ENQUEUE + "optimizer.lr = 0.1\n" + ENQUEUE + "optimizer.lr = 9.0", ("[[search.enqueue]] 2",)),
    "inactive key": (
        ENQUEUE + 'optimizer.name = "adam"\noptimizer.momentum = 0.9',
        ("`optimizer.momentum`", "only where `optimizer.name` is sgd", "adam"),
    ),
    "key without its condition": (ENQUEUE + "optimizer.momentum = 0.9", ("`optimizer.name`", "not given")),
    "more points than trials": ((ENQUEUE + "optimizer.lr = 0.1\n") * 8, ("8 [[search.enqueue]]", "7 trials")),
    "unknown stop rule": ("[search.stop]\nhour = 1", ("`search.stop.hour`", "Did you mean `hours`?")),
    "no time at all": ("[search.stop]\nhours = 0", ("`search.stop.hours`", "greater than 0")),
    "unknown quantity": (
        '[objective]\nconstraints = ["parameter_m <= 3"]',
        ("'parameter_m'", "Did you mean `parameters_m`?"),
    ),
    "constraint without a number": ('[objective]\nconstraints = ["flops_g <= few"]', ("'flops_g <= few'", "Write '")),
    "constraint of equality": ('[objective]\nconstraints = ["flops_g = 3"]', ("'flops_g = 3'", "<= or >=")),
    "unknown cost": ('[objective]\ncost = "flops"', ("`objective.cost`", "Did you mean `flops_g`?")),
    "pruner of two objectives": (
        '[objective]\ncost = "flops_g"\n[search.pruner]\nname = "median"',
        ("single objective", "'median'", "Remove one"),
    ),
}


@pytest.mark.parametrize(("added", "expected"), SEARCH_MISTAKES.values(), ids=SEARCH_MISTAKES.keys())
def test_a_mistake_in_the_search_gets_one_line(added: str, expected: tuple[str, ...]) -> None:
    with pytest.raises(DefinitionError) as caught:
        parse(f"{TEXT}{added}\n")
    message = str(caught.value)
    assert "\n" not in message
    for part in (*expected, "tiny.toml"):
        assert part in message


def test_fixed_keys_may_be_quoted_as_searched_ones_are() -> None:
    text = TEXT.replace(
        "epochs = 3", 'epochs = 3\n"augmentation.flip" = 0.5\nschedule.name = "cosine"\n"schedule.warmup_epochs" = 1'
    )
    fixed = parse(text).trial
    assert (fixed.augmentation.flip, fixed.schedule.name, fixed.schedule.warmup_epochs) == (0.5, "cosine", 1)


@pytest.mark.parametrize(
    ("line", "name"),
    [
        ('"schedule.nam" = "cosine"', "trial.schedule.nam"),
        ('"schedul.name" = "cosine"', "trial.schedul"),
        ('schedule = 3\n"schedule.name" = "cosine"', "trial.schedule"),
    ],
)
def test_a_quoted_key_that_is_wrong_is_named(line: str, name: str) -> None:
    with pytest.raises(DefinitionError, match=f"`{name}"):
        parse(TEXT.replace("epochs = 3", f"epochs = 3\n{line}"))
