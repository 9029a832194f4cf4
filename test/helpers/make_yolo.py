"""Makes small YOLO models out of their yaml, whose outputs depend on their inputs, and data sets to calibrate them with.

Weights as a yaml leaves them prove nothing: next to nothing of the input reaches the outputs. Convolutions get Kaiming's
initialisation, and BatchNorm statistics of three batches of random images. Arguments: a directory, and names of
architectures; prints the largest difference of each between the outputs for two inputs, as JSON.
"""

import json
import os
import sys
from pathlib import Path

IMAGE = 96
FAMILIES = {"": "detect", "-seg": "segment", "-pose": "pose", "-obb": "obb", "-cls": "classify"}


def main(directory, names):
    directory = Path(directory)
    differences = {}
    for name in names:
        differences[name] = make_model(directory, name)
    for task in FAMILIES.values():
        make_data(directory / "data" / task, task)
    print(json.dumps(differences))


def make_model(directory, name):
    import torch
    from ultralytics import YOLO

    torch.manual_seed(0)
    yolo = YOLO(f"{name}.yaml", verbose=False)
    model = yolo.model
    for module in model.modules():
        if isinstance(module, torch.nn.Conv2d) and module.weight.requires_grad:
            torch.nn.init.kaiming_normal_(module.weight, nonlinearity="relu")
            if module.bias is not None:
                # The last ones, without normalisation behind them: scores between 0 and 1, not at both ends.
                torch.nn.init.zeros_(module.bias)
                module.weight.data *= 0.3
        elif isinstance(module, torch.nn.BatchNorm2d):
            module.momentum = None
            module.reset_running_stats()
    model.train()
    with torch.no_grad():
        for _ in range(3):
            model(torch.rand(8, 3, IMAGE, IMAGE))
    model.eval()
    with torch.no_grad():
        one, other = (first(model(torch.rand(1, 3, IMAGE, IMAGE))) for _ in range(2))
    yolo.save(directory / f"{name}.pt")
    return float((one - other).abs().max())


def first(output):
    while isinstance(output, (tuple, list)):
        output = output[0]
    return output


def make_data(directory, task):
    import numpy
    from PIL import Image

    random = numpy.random.default_rng(0)

    def image(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(random.integers(0, 255, (IMAGE, IMAGE, 3), dtype=numpy.uint8)).save(path, quality=98)

    if task == "classify":
        for split in ("train", "val"):
            for kind in ("cat", "dog"):
                for at in range(2):
                    image(directory / split / kind / f"{at}.jpg")
        return
    labels = {
        "detect": "0 0.5 0.5 0.2 0.3",
        "segment": "0 0.2 0.2 0.6 0.2 0.6 0.6 0.2 0.6",
        "pose": "0 0.5 0.5 0.4 0.4 " + " ".join(["0.5 0.5 2"] * 17),
        "obb": "0 0.2 0.2 0.6 0.2 0.6 0.6 0.2 0.6",
    }
    for at in range(4):
        image(directory / "images" / "val" / f"{at}.jpg")
        label = directory / "labels" / "val" / f"{at}.txt"
        label.parent.mkdir(parents=True, exist_ok=True)
        label.write_text(labels[task] + "\n")
    lines = ["train: images/val", "val: images/val", "names:", "  0: thing"]
    if task == "pose":
        lines.append("kpt_shape: [17, 3]")
    # Runs where a tool believes that images are missing, and must not even be read.
    lines.append(f"download: open({str(directory / 'ran')!r}, 'w').close()")
    (directory / "data.yaml").write_text("\n".join(lines) + "\n")


if __name__ == "__main__":
    os.environ.setdefault("YOLO_OFFLINE", "1")
    main(sys.argv[1], sys.argv[2:])
