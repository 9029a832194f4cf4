"""Prints `names.ts`: the weights that Ultralytics knows by name, by its own list, with the task of each.

`npm run names` writes it, in the environment of the toolchain `ultralytics`. Nothing is fetched.
"""

import importlib.metadata
import inspect
import re

from ultralytics.nn.tasks import guess_model_task
from ultralytics.utils import downloads

HEAD = """/** Made by `npm run names`: the weights that Ultralytics knows by name, by task. Those without `.pt` are one. */

/** The package that names them. */
export const PACKAGE = 'ultralytics {version}';

/** The release of its assets that it takes them from. */
export const RELEASE = '{release}';

/** What is only pulled: models that it has no exporter for, encoders of text and of identities. */
export const OTHER = {other} as const;

export const NAMES = {names} as const;
"""

# Models of other makers that are wrapped and not exported.
NOT_EXPORTED = ("sam_", "sam2", "sam3", "mobile_sam", "yolo_nas")


def main():
    groups = {}
    for asset in downloads.GITHUB_ASSETS_NAMES:
        stem, ending = asset.rsplit(".", 1)
        # A sample of images.
        if ending == "zip":
            continue
        name = stem if ending == "pt" else asset
        groups.setdefault(group(stem, ending), []).append(name)
    for names in groups.values():
        names.sort(key=naturally)
    release = inspect.signature(downloads.attempt_download_asset).parameters["release"].default
    print(HEAD.format(
        version=importlib.metadata.version("ultralytics"),
        release=release,
        other=groups.pop("other"),
        names=dict(sorted(groups.items())),
    ))


def group(stem, ending):
    if ending != "pt" or stem.startswith(NOT_EXPORTED):
        return "other"
    # Named after a model of another kind, and built as a YOLO that segments.
    return "segment" if stem.startswith("FastSAM") else guess_model_task(f"{stem}.pt")


def naturally(name):
    """`yolo11n` after `yolo9n`."""
    return [int(part) if part.isdigit() else part.lower() for part in re.split(r"(\d+)", name)]


if __name__ == "__main__":
    main()
