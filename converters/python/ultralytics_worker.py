"""Exports YOLO models with Ultralytics' own exporter, and checks what came of them: jobs for worker_protocol.py."""

import os
import shutil
import sys

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))

from worker_guard import confine  # noqa: E402
from worker_outputs import compare, describe, finite, first_line, name_of  # noqa: E402
from worker_protocol import Damaged, Refused, serve  # noqa: E402
from worker_weights import quantizers, weight_bytes  # noqa: E402

# A name that Ultralytics neither changes (`yolov5n.pt`) nor fetches again (names of its assets), in a directory that it
# is started in: it replaces every `.pt` of a path, so that a whole path would send the result elsewhere.
WEIGHTS = "weights.pt"
QUANTIZED = {"fp32": None, "fp16": 16, "int8": 8}
CALIBRATED_TASKS = {"detect": "yaml", "segment": "yaml", "pose": "yaml", "obb": "yaml", "classify": "folder"}
WANTED_DATA = {
    "yaml": "the yaml of a data set for its task",
    "folder": "a folder with images at val/<class>/",
}


def convert(request, emit):
    enter_private_directory(request, [request["output"]])
    emit("stage", stage="Loading the model")
    yolo, warnings = load(request)
    refuse_unfit(request, yolo)
    # Names the files of the result.
    yolo.model.pt_path = request["name"] + ".pt"
    seen = {}
    yolo.add_callback("on_export_start", lambda exporter: look(exporter, request, seen))
    leave_out_idle_work()
    emit("stage", stage="Quantizing the model" if request["precision"] == "int8" else "Exporting the model")
    arguments = {**request["arguments"], "format": "openvino", "quantize": QUANTIZED[request["precision"]]}
    if "calibration" in request:
        arguments["data"] = request["calibration"]["path"]
    directory = yolo.export(**{key: value for key, value in arguments.items() if value is not None})
    warnings += adjusted(request, seen)
    emit("stage", stage="Writing the IR")
    model = os.path.join(directory, request["name"] + ".xml")
    refuse_other_weights(model, request)
    if request["modelInfo"]:
        add_model_info(model, request["modelInfo"])
    for name in os.listdir(directory):
        shutil.move(os.path.join(directory, name), os.path.join(request["output"], name))
    result = {"versions": versions(request), "warnings": warnings}
    if request["check"]:
        # The exporter worked on a copy.
        result["check"] = run_once(request["output"], request["name"], lambda: yolo, emit)
    return result


def enter_private_directory(request, more=()):
    confine([os.getcwd(), *more])
    # The two jobs of one conversion share the directory around it.
    directory = os.path.join(os.getcwd(), request["job"])
    os.mkdir(directory)
    os.chdir(directory)
    try:
        os.symlink(request["input"], WEIGHTS)
    except OSError:
        # Windows lets few users make links.
        shutil.copyfile(request["input"], WEIGHTS)


def versions(request):
    import openvino
    import torch
    import ultralytics

    found = {
        "ultralytics": ultralytics.__version__,
        "openvino": openvino.__version__.split("-")[0],
        "torch": torch.__version__,
    }
    if request["precision"] == "int8":
        import nncf

        found["nncf"] = nncf.__version__
    return found


def load(request):
    """The model, and what to say of it. Its pickle is read by the safe loader first, whatever is trusted."""
    import torch
    from ultralytics import YOLO
    from ultralytics.nn import tasks

    file = request["file"]
    loader = getattr(tasks, "_SafeLoad", None)
    if loader is None or not loader.SUPPORTED:
        if not request["trustPickle"]:
            raise Refused(
                f"ultralytics with torch {torch.__version__} has no safe loader for the pickle in {file}",
                "use modeldl's own toolchain, or `--trust-pickle` if you trust who made the file",
            )
        return YOLO(WEIGHTS), [f"{file} was loaded as code, since `--trust-pickle` was given"]
    try:
        return YOLO(WEIGHTS), []
    except Exception as error:  # noqa: BLE001 - whatever a stranger's file makes of a library
        names = refused_globals(error)
        if not names:
            raise unreadable(request, error) from error
        if not request["trustPickle"]:
            raise refused_pickle(file, names) from error
        # The variable that switched it on was read once, at import.
        tasks.SAFE_LOAD = False
        try:
            yolo = YOLO(WEIGHTS)
        except (AttributeError, TypeError) as problem:
            raise Refused(f"{file} is no YOLO model, though its pickle was trusted") from problem
        return yolo, [f"{file} was loaded as code ({', '.join(names)}), since `--trust-pickle` was given"]


def refused_globals(error):
    """Names that the file's pickle refers to and the safe loader does not know, the dangerous ones first."""
    import pickle

    import torch

    try:
        # What the loader knows of this file is registered since it tried.
        names = set(torch.serialization.get_unsafe_globals_in_checkpoint(WEIGHTS))
    except Exception:  # noqa: BLE001 - no zip archive, as torch 1.5 and older wrote it, or damaged
        names = set()
    scanned = scan()
    dangerous = {name for name, level in scanned.items() if level == "dangerous"}
    if names:
        # The scanner has the names of Python 2 for what is built in.
        dangerous = {name.replace("__builtin__.", "builtins.") for name in dangerous} & names
    elif refuses_pickle(error, pickle.UnpicklingError):
        names = dangerous or {name for name, level in scanned.items() if level != "innocuous"}
    return sorted(dangerous) + sorted(names - dangerous)


def refuses_pickle(error, kind):
    """Whether the safe loader stopped at a name, and not at bytes that are no pickle."""
    while error is not None:
        if isinstance(error, kind) and "GLOBAL" in str(error):
            return True
        error = error.__cause__
    return False


def scan():
    """What picklescan thinks of each name that the file's pickle refers to."""
    try:
        from picklescan.scanner import scan_file_path
    except ImportError:
        return {}
    try:
        found = scan_file_path(WEIGHTS).globals
    except Exception:  # noqa: BLE001 - of a damaged file
        return {}
    return {f"{item.module}.{item.name}": item.safety.value for item in found}


def refused_pickle(file, names):
    if any(name.split(".")[0] == "models" for name in names):
        return Refused(
            f"{file} was written by the older yolov5 repository ({names[0]}), whose models Ultralytics 8 does not read",
            "take the model of the same size whose name ends in u, such as yolov5nu, or train it with Ultralytics 8",
        )
    told = ", ".join(called(name) for name in names[:5]) + (", …" if len(names) > 5 else "")
    return Refused(
        f"loading {file} would run code: its pickle refers to {told}, which the safe loader does not allow",
        "`--trust-pickle` loads it nevertheless: only for a file whose maker you trust",
    )


def called(name):
    """Functions of the module `os` are pickled under the system's own name for it."""
    module, _, function = name.rpartition(".")
    return f"{name} (os.{function})" if module in ("posix", "nt") else name


def unreadable(request, error):
    """What to raise for a file that the loader could not make a model of, though its pickle is harmless."""
    import zipfile

    import torch

    file = request["file"]
    if isinstance(error, ModuleNotFoundError):
        return Refused(f"{file} needs {error.name}, which this version of Ultralytics does not have")
    if zipfile.is_zipfile(WEIGHTS):
        with zipfile.ZipFile(WEIGHTS) as archive:
            if any(name.endswith("/constants.pkl") for name in archive.namelist()):
                return Refused(
                    f"{file} is a TorchScript archive, and no model that Ultralytics exports",
                    "name the .pt that it was made from",
                )
    try:
        content = torch.load(WEIGHTS, map_location="cpu", weights_only=True)
    except Exception:  # noqa: BLE001 - the first error says what is wrong
        # PyTorch goes on with advice.
        cause = first_line(error.__cause__ or error).split(". ")[0]
        return Damaged(f"{file} is empty, truncated or no PyTorch file ({cause})")
    return Refused(f"{file} is no YOLO model: it holds {what(content)}", "`--converter` chooses another converter")


def what(content):
    if isinstance(content, dict):
        names = ", ".join(str(key) for key in list(content)[:3])
        return f"a dictionary with {names}{', …' if len(content) > 3 else ''}"
    return f"a {type(content).__name__}"


def refuse_unfit(request, yolo):
    from ultralytics.utils.torch_utils import is_qat

    file, task, arguments = request["file"], yolo.task, request["arguments"]
    if request.get("task") not in (None, task):
        raise Refused(f"{file} is a {task} model, not one for {request['task']}", "leave out `--task`")
    if is_qat(yolo.model):
        raise Refused(f"{file} was trained for int8 itself, which Ultralytics exports to ONNX only")
    if arguments.get("nms") and task == "classify":
        raise Refused(f"{file} is a classification model, which has no boxes", "leave out `--set nms`")
    if request["precision"] != "int8":
        return
    wanted = CALIBRATED_TASKS.get(task)
    if wanted is None:
        raise Refused(
            f"int8 is made of models for {', '.join(CALIBRATED_TASKS)}, and {file} is one for {task}",
            "use `--precision fp16`",
        )
    if request["calibration"]["kind"] != wanted:
        raise Refused(
            f"{file} is a {task} model, which {request['calibration']['name']} does not fit",
            f"name {WANTED_DATA[wanted]} with `--calibration`",
        )


def leave_out_idle_work():
    """What the exporter does for people who watch it: neither changes the result."""
    from ultralytics.data import utils
    from ultralytics.nn import tasks

    # For pictures of the data set, which nobody draws here; it would be fetched.
    utils.check_font = lambda *_arguments, **_options: None
    # A line in the log that takes a pass through the model.
    tasks.model_info = lambda *_arguments, **_options: None


def look(exporter, request, seen):
    """Called by the exporter with all it has decided."""
    seen["imgsz"] = list(exporter.imgsz)
    seen["nms"] = exporter.args.nms
    seen["end2end"] = exporter.metadata["end2end"]
    # Where the data set lies on this machine is nobody's business, and changes nothing.
    if "calibration" in request:
        exporter.metadata["args"]["data"] = request["calibration"]["name"]


def adjusted(request, seen):
    """What the exporter did otherwise than it was asked to."""
    notes = []
    asked = request["arguments"].get("imgsz")
    if asked is not None:
        asked = [asked, asked] if isinstance(asked, int) else list(asked)
        if asked != seen["imgsz"]:
            notes.append(f"imgsz became {seen['imgsz'][0]},{seen['imgsz'][1]}: it has to be a multiple of the stride")
    if request["arguments"].get("nms") is True and not seen["nms"]:
        notes.append("It has no boxes left to choose from, so that `--set nms` changed nothing")
    if request["arguments"].get("nms") is False and not seen["end2end"]:
        notes.append("It has no head that works without NMS, so that its outputs are raw")
    return notes


def refuse_other_weights(path, request):
    """@raise ValueError when the weights are not what was asked for, although nothing failed"""
    import openvino

    model = openvino.Core().read_model(path)
    problem = other_weights(weight_bytes(model), quantizers(model), request["precision"])
    if problem:
        raise ValueError(problem)


def other_weights(held, quantized, precision):
    """Why these are not the weights of such a precision; None when they are."""
    int8 = held.get("i8", 0) + held.get("u8", 0)
    if precision == "int8":
        if quantized == 0 or int8 == 0:
            return "No layer was quantized to int8"
        return None
    wanted, other = ("f16", "f32") if precision == "fp16" else ("f32", "f16")
    if held.get(wanted, 0) <= held.get(other, 0) + int8:
        return f"The weights did not become {precision}: {held}"
    return None


def add_model_info(path, keys):
    """What is there already is replaced only by what was given for it."""
    import openvino

    model = openvino.Core().read_model(path)
    for key, value in keys.items():
        model.set_rt_info(value, ["model_info", key])
    written = os.path.join(os.path.dirname(path), "..", "with-info.xml")
    # The weights of the first file are still being read from the disk.
    openvino.save_model(model, written, compress_to_fp16=False)
    del model
    for ending in (".xml", ".bin"):
        os.replace(written[: -len(".xml")] + ending, path[: -len(".xml")] + ending)


def check(request, emit):
    enter_private_directory(request)
    return run_once(request["directory"], request["name"], lambda: load(request)[0], emit)


def run_once(directory, name, load_original, emit):
    import numpy
    import openvino as ov
    import yaml

    emit("stage", stage="Running the model once")
    with open(os.path.join(directory, "metadata.yaml"), encoding="utf-8") as file:
        metadata = yaml.safe_load(file)
    core = ov.Core()
    model = core.read_model(os.path.join(directory, name + ".xml"))
    compiled = core.compile_model(model, "CPU")
    # An image, as its preprocessing leaves it: from 0 to 1.
    shape = input_shape(model, metadata)
    image = numpy.random.default_rng(0).random(shape, dtype=numpy.float32)
    results = compiled([image])
    outputs = [describe(numpy, name_of(port), results[index]) for index, port in enumerate(model.outputs)]
    report = {"passed": True, "compared": False, "outputs": outputs, "warnings": []}
    if not all(output["finite"] for output in outputs):
        report.update(passed=False, reason="an output is not finite")
        return report
    if metadata["args"].get("nms") or metadata["end2end"]:
        report["reason"] = "it chooses its boxes itself, and rounding changes which"
        return report
    expected = run_original(load_original(), metadata, image)
    exact = core.compile_model(model, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})([image])
    actual = [exact[index] for index in range(len(model.outputs))]
    if [value.shape for value in expected] != [value.shape for value in actual]:
        shapes = [[list(value.shape) for value in values] for values in (actual, expected)]
        report.update(passed=False, reason=f"its outputs have the shapes {shapes[0]}, the original's {shapes[1]}")
        return report
    report["compared"] = True
    report["outputs"] = [
        {**output, **part, **compare(numpy, one, other), "finite": finite(numpy, other)}
        for index, output in enumerate(outputs)
        for part, one, other in parts(index, expected[index], actual[index], metadata)
    ]
    return report


def input_shape(model, metadata):
    shape = [metadata["batch"], metadata["channels"], *metadata["imgsz"]]
    return [
        wanted if dimension.is_dynamic else dimension.get_length()
        for dimension, wanted in zip(model.inputs[0].partial_shape, shape)
    ]


def run_original(yolo, metadata, image):
    """The outputs of the model itself, in the form that is exported."""
    import torch
    from ultralytics.nn.modules import Classify, Depth, Detect, RTDETRDecoder, SemanticSegment

    model = yolo.model.float().eval()
    if hasattr(model, "end2end"):
        model.end2end = metadata["end2end"]
    model = model.fuse(verbose=False)
    for module in model.modules():
        if isinstance(module, (Classify, Depth, Detect, RTDETRDecoder, SemanticSegment)):
            module.export = True
            module.format = "openvino"
        if isinstance(module, (Detect, RTDETRDecoder)):
            module.dynamic = metadata["args"]["dynamic"]
            module.shape = None
            if hasattr(model, "pe") and hasattr(module, "fuse") and not hasattr(module, "lrpc"):
                module.fuse(model.pe)
    with torch.inference_mode():
        found = model(torch.from_numpy(image))
    return [value.numpy() for value in (found if isinstance(found, (tuple, list)) else [found])]


# What follows boxes and scores among the channels of a raw output, by task.
EXTRAS = {"segment": "mask coefficients", "pose": "keypoints", "obb": "angles"}


def parts(index, expected, actual, metadata):
    """Boxes, in pixels, and scores, up to 1, lie in one output: each is compared in its own scale."""
    task, classes = metadata["task"], len(metadata["names"])
    if task == "classify":
        return [({"name": "scores"}, expected, actual)]
    if index > 0 or task not in ("detect", *EXTRAS) or expected.shape[1] < 4 + classes:
        return [({"name": "mask prototypes"} if task == "segment" else {}, expected, actual)]
    ends = [("boxes", 0, 4), ("scores", 4, 4 + classes)]
    if expected.shape[1] > 4 + classes:
        ends.append((EXTRAS.get(task, "rest"), 4 + classes, expected.shape[1]))
    return [
        ({"name": name, "shape": list(part.shape)}, part, actual[:, start:end])
        for name, start, end in ends
        for part in [expected[:, start:end]]
    ]


if __name__ == "__main__":
    serve({"convert": convert, "check": check})
