"""Real photos as imbalanced as the paper's: three like kinds of clothing, one of which has 86 %.

python -m tests.benchmarks.imbalanced_photos ../shared/data/clothing10 search_spaces/paper/real_photos/photos
study run search_spaces/paper/real_photos

All t-shirts stand in for violins; as many shirts and longsleeves as leave them 86 % for violas and cellos. Photos are linked,
never copied. A verdict on a claim of the paper's is of these photos alone: it says how the platform judges.
"""

import sys
from pathlib import Path

MAJORITY, MINORITIES = "t-shirt", ("longsleeve", "shirt")  # the likest three, as violin, viola and cello are
MAJORITY_SHARE = 0.86
SPLITS = ("train", "validation", "test")


def link_imbalanced(source: Path, target: Path) -> dict[str, int]:
    """Links photos of `source` (split/class/*.jpg) below `target` (class/*.jpg), without their split; photos by class."""
    numbers = {}
    num_majority = len(_photos(source, MAJORITY))
    num_others = round(num_majority * (1 / MAJORITY_SHARE - 1))
    wanted = {MAJORITY: num_majority}
    wanted |= {name: (num_others + place) // len(MINORITIES) for place, name in enumerate(MINORITIES)}
    for name, number in wanted.items():
        (target / name).mkdir(parents=True, exist_ok=True)
        for photo in _photos(source, name)[:number]:
            link = target / name / photo.name
            if not link.exists():
                link.symlink_to(photo.resolve())
        numbers[name] = number
    return numbers


def _photos(source: Path, name: str) -> list[Path]:
    """Of one class, in an order that has nothing to do with what they show: their names are random."""
    return sorted((photo for split in SPLITS for photo in (source / split / name).glob("*.jpg")), key=lambda photo: photo.name)


if __name__ == "__main__":
    print(link_imbalanced(Path(sys.argv[1]), Path(sys.argv[2])))
