"""torchvision's classification data sets: how each is opened, split by split."""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

from study.data.records import SplitName

Options = Mapping[str, Any]
Parts = Mapping[SplitName, Options]

_BY_FLAG: Parts = {"train": {"train": True}, "test": {"train": False}}
_TWO: Parts = {"train": {"split": "train"}, "test": {"split": "test"}}
_THREE: Parts = {"train": {"split": "train"}, "val": {"split": "val"}, "test": {"split": "test"}}
# What these call a test split has no labels; their validation split is the last word.
_TRAIN_AND_VAL: Parts = {"train": {"split": "train"}, "val": {"split": "val"}}
_WHOLE: Parts = {"": {}}

# Constructor arguments for each part, by class name. Those with (PIL image, class number) items, in which every split shows
# every class: not LFWPeople, whose test people are others. Source: https://docs.pytorch.org/vision/0.29/datasets.html
DATA_SETS: Mapping[str, Parts] = MappingProxyType(
    {
        "CIFAR10": _BY_FLAG,
        "CIFAR100": _BY_FLAG,
        "CLEVRClassification": _TRAIN_AND_VAL,
        "Caltech101": _WHOLE,
        "Caltech256": _WHOLE,
        "Country211": {"train": {"split": "train"}, "val": {"split": "valid"}, "test": {"split": "test"}},
        "DTD": _THREE,
        "EMNIST": {name: {"split": "balanced", **options} for name, options in _BY_FLAG.items()},
        "EuroSAT": _WHOLE,
        "FGVCAircraft": _THREE,
        "FashionMNIST": _BY_FLAG,
        "Flowers102": _THREE,
        "Food101": _TWO,
        "GTSRB": _TWO,
        "ImageNet": _TRAIN_AND_VAL,
        "Imagenette": _TRAIN_AND_VAL,
        "KMNIST": _BY_FLAG,
        "MNIST": _BY_FLAG,
        "OxfordIIITPet": {"train": {"split": "trainval"}, "test": {"split": "test"}},
        "PCAM": _THREE,
        "Places365": {"train": {"split": "train-standard", "small": True}, "val": {"split": "val", "small": True}},
        "QMNIST": _BY_FLAG,
        "RenderedSST2": _THREE,
        "SEMEION": _WHOLE,
        "STL10": _TWO,
        "SUN397": _WHOLE,
        "SVHN": _TWO,
        "StanfordCars": _TWO,
        "USPS": _BY_FLAG,
    }
)
