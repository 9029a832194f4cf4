"""Exports models with optimum-intel as `optimum-cli export openvino` does: a job for worker_protocol.py.

The command's own code is run, in this process, with the arguments that it would get, so that the result is the same.
"""

import logging
import math
import os
import re
import sys

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))

from worker_guard import confine  # noqa: E402
from worker_outputs import first_line  # noqa: E402
from worker_protocol import Damaged, Refused, Unreachable, serve  # noqa: E402
from worker_weights import COMPRESSED, none_compressed  # noqa: E402

# Below it scales weigh as much as what they scale.
SMALLEST_GROUP = 16
OF_TEXT = ("text", "fill-mask", "question-answering", "token-classification", "image-text-to-text")


def convert(request, emit):
    emit("stage", stage="Loading the tools")
    enter(request)
    random = RandomWeights()
    logging.getLogger("transformers").addHandler(random)
    export(request, emit)
    warnings = []
    if request["library"] == "transformers":
        if names := random.heard(request["task"]):
            warnings.append(
                f"Its weights lack what {request['task']} needs, which is random now: {', '.join(names[:3])}"
                + (f" and {len(names) - 3} more" if len(names) > 3 else "")
            )
        if request["tokenizer"]:
            add_tokenizer(request, emit, warnings)
        elif request["task"].startswith(OF_TEXT):
            warnings.append("It comes without a tokenizer, so that there is none beside the result")
    if request.get("pairs"):
        tokenize_pairs(request)
    if request.get("shape"):
        make_static(request, emit)
    if note := precision_note(request):
        warnings.append(note)
    result = {"versions": versions(request["packages"]), "warnings": warnings}
    if request["check"]:
        from optimum_check import check

        result["check"] = check(request, emit)
    return result


class RandomWeights(logging.Handler):
    """Hears of weights that transformers makes at random, since the files have none by these names."""

    def __init__(self):
        super().__init__()
        self.names = {}

    def emit(self, record):
        text = re.sub(r"\x1b\[[0-9;]*m", "", record.getMessage())
        # A sentence of transformers 4, a row of a table of transformers 5.
        listed = re.search(r"newly initialized: \[(.*?)\]", text, re.S)
        found = re.findall(r"'([^']+)'", listed[1]) if listed else re.findall(r"^(\S+)\s*\|\s*MISSING", text, re.M)
        self.names.update(dict.fromkeys(found))

    def heard(self, task):
        # Hidden states are taken before it.
        return [name for name in self.names if not (task == "feature-extraction" and "pooler." in name)]


def check_alone(request, emit):
    from optimum_check import check

    enter(request)
    return check(request, emit)


def enter(request):
    # It is started in its home, which holds all that the libraries keep for themselves.
    confine([os.getcwd(), request["output"], *request["writes"]])
    # The model is named by a relative path that reads like its id, as whoever gives the command an id names it: the
    # result holds that name, and defaults for single models go by it.
    os.chdir(request["directory"])
    if request["trustPickle"]:
        load_any_pickle()
    if not request["trustRemoteCode"]:
        refuse_code(request["library"])
    know_newer_tokenizers()


def know_newer_tokenizers():
    """transformers 5 writes a name that older ones do not know for what they call by another."""
    import transformers

    if not hasattr(transformers, "TokenizersBackend"):
        transformers.TokenizersBackend = transformers.PreTrainedTokenizerFast


def refuse_code(library):
    """Consent is asked for by transformers, but sentence-transformers before 6 trusts whatever lies in a directory, and
    imports and calls what the files of a model name; diffusers trusted directories too."""
    from transformers import dynamic_module_utils

    def refuse(*_arguments, **_options):
        raise needs_code()

    dynamic_module_utils.get_class_in_module = refuse
    if library == "diffusers":
        from diffusers.utils import dynamic_modules_utils

        dynamic_modules_utils.get_class_in_module = refuse
    if library == "sentence_transformers":
        from sentence_transformers.util import import_from_string

        def import_known(name):
            return import_from_string(name) if name.startswith(KNOWN_CLASSES) else refuse()

        for name, module in list(sys.modules.items()):
            if name.startswith("sentence_transformers") and hasattr(module, "import_from_string"):
                module.import_from_string = import_known


# Classes that a model of sentence-transformers may be made of: its modules, and functions between layers.
KNOWN_CLASSES = ("sentence_transformers.", "torch.nn.")


def needs_code():
    return Refused(
        "it can be loaded only by code that comes with it",
        "read that code; if you trust it, `--trust-remote-code` runs it",
    )


def export(request, emit):
    import argparse

    try:
        from optimum.commands.export.openvino import OVExportCommand, parse_args_openvino

        parser = argparse.ArgumentParser()
        parse_args_openvino(parser)
        arguments = parser.parse_args(request["arguments"])
        # The command line cannot say that something is not wanted; given or not decides on defaults for single models.
        for name, value in request["given"].items():
            setattr(arguments, name, value)
        correct(request)
        emit("stage", stage="Exporting the model")
        OVExportCommand.run(argparse.Namespace(args=arguments))
        if request["library"] == "timm":
            # Quantization writes it anew, without what optimum-intel does not know.
            import optimum_timm

            optimum_timm.describe(request["name"], request["output"])
    except ModuleNotFoundError:
        raise
    except Exception as error:
        if damaged := unreadable(request["name"]):
            raise Damaged(damaged) from error
        if request["network"] and (cause := unreachable(error)):
            raise Unreachable(f"its data for calibration cannot be fetched: {cause}") from error
        if "ignore_mismatched_sizes" in str(error):
            raise Damaged("its weights have other shapes than its config.json says") from error
        refusal = refusal_of(error, request["precision"])
        # OpenVINO puts what went wrong behind what it was busy with.
        if traced := re.search(r"TorchScript module by tracing.*?Exception:\s*(\S[^\n]*)", str(error), re.DOTALL):
            raise RuntimeError(traced.group(1)) from error
        if refusal is None:
            raise
        raise refusal from error


def unreachable(error):
    """What a library that fetches says when it gets no connection; None where it failed at something else.

    huggingface_hub closes its client after a first failure, and the next one tells only of that.
    """
    names = ("ConnectError", "ConnectTimeout", "ReadTimeout", "ProxyError", "ConnectionError", "MaxRetryError", "gaierror")
    seen = set()
    while error is not None and id(error) not in seen:
        seen.add(id(error))
        if "client has been closed" in str(error):
            return "its hub cannot be reached"
        if type(error).__name__ in names:
            return first_line(error)
        error = error.__cause__ or error.__context__
    return None


def unreadable(directory):
    """Which of the weights is damaged: libraries name no file. None when none is."""
    from safetensors import safe_open

    for folder, _folders, files in os.walk(directory):
        for file in sorted(files):
            path = os.path.join(folder, file)
            if not file.endswith(".safetensors"):
                continue
            try:
                with safe_open(path, framework="numpy"):
                    pass
            except Exception as error:  # noqa: BLE001 - its own kinds of errors, and the system's
                return f"its {os.path.relpath(path, directory)} is damaged: {first_line(error)}"
    return None


def correct(request):
    """The command finds its parts when it runs: those that it lacks, or has wrong in optimum-intel 2.2."""
    from optimum.exporters.openvino import __main__ as exporter
    from optimum.intel.openvino import utils

    if request["library"] == "timm":
        from optimum_timm import main_export

        exporter.main_export = main_export
    # What is quantized is loaded by its task alone, for which it takes all that listens for an encoder with a decoder.
    if request["library"] == "transformers" and request["task"] == "automatic-speech-recognition":
        from transformers import AutoConfig

        config = AutoConfig.from_pretrained(request["name"], trust_remote_code=request["trustRemoteCode"])
        if not config.is_encoder_decoder:
            utils._HEAD_TO_AUTOMODELS["automatic-speech-recognition"] = "OVModelForCTC"


def refusal_of(error, precision):
    """What the libraries refuse for good reasons, in the forms of optimum-intel 2.2, transformers 4.53 to 5.5, torch 2.15."""
    message = str(error)
    if found := re.search(r"(?:GLOBAL|Unsupported global:?(?: GLOBAL)?) ([\w.]+)", message):
        return Refused(
            f"loading its weights would run {found.group(1)}, which they name as a part of the pickle",
            "use a model with safetensors; if you trust whoever made it, `--trust-pickle` loads it all the same",
        )
    if "trust_remote_code" in message and "custom code" in message:
        return needs_code()
    if type(error).__name__ == "InvalidGroupSizeError":
        return undivided(message, precision)
    if "MIN_TRANSFORMERS_VERSION" in message or re.search(r"transformers (version )?(>=|<=|==)", message):
        return Refused(first_line(error), "`--toolchain` chooses an environment with other versions")
    if "does not recognize this architecture" in message or "custom or unsupported architecture" in message:
        found = re.search(r"model type `?([\w.-]+)`?|export a ([\w.-]+) model", message)
        name = next((part for part in found.groups() if part), "this one") if found else "this one"
        return Refused(f"optimum-intel does not export models of type {name}", None)
    if "Please use a supported task" in message:
        return Refused(first_line(error).split(" Please")[0], "`--task` takes one of those")
    return None


def undivided(message, precision):
    """The layers whose channels a group does not divide, and the nearest group that divides all."""
    layers = re.findall(r'"([^"]+)" \(channel size: (\d+)\)', message)
    group = re.search(r"(?:group size value|size of group) (\d+)", message)
    hint = "use `--set group-size-fallback=adjust`, or `--set group-size=-1` for one scale per channel"
    if precision == "mxfp4":
        hint = "use `--precision int4`, which has groups of other sizes"
    if not layers or group is None:
        return Refused(f"its weights do not divide into the groups: {message.strip().splitlines()[0]}", hint)
    (name, channels), *others = layers
    size = int(group.group(1))
    more = f", nor those of {len(others)} other layers" if others else ""
    # What divides the group divides the layers that it fits.
    common = math.gcd(size, *(int(count) for _, count in layers))
    if common >= SMALLEST_GROUP and precision != "mxfp4":
        hint = f"use `--set group-size={common}`, or `--set group-size-fallback=adjust`"
    return Refused(f"groups of {size} do not divide the {channels} channels of {name}{more}", hint)


def load_any_pickle():
    """torch.load refuses pickles that do more than hold tensors; the user trusts this one."""
    import torch

    safe_load = torch.load

    def load(*positional, **named):
        named["weights_only"] = False
        return safe_load(*positional, **named)

    torch.load = load


def add_tokenizer(request, emit, warnings):
    """The exporter drops tokenizers that it fails to convert, with no more than a line in the log."""
    output = request["output"]
    wanted = ("openvino_tokenizer.xml", "openvino_detokenizer.xml")
    if all(os.path.exists(os.path.join(output, name)) for name in wanted):
        return
    emit("stage", stage="Converting the tokenizer")
    try:
        from openvino import save_model
        from openvino_tokenizers import convert_tokenizer
        from transformers import AutoTokenizer

        tokenizer = AutoTokenizer.from_pretrained(
            request["name"], trust_remote_code=request["trustRemoteCode"]
        )
        for name, model in zip(wanted, convert_tokenizer(tokenizer, with_detokenizer=True)):
            if not os.path.exists(os.path.join(output, name)):
                save_model(model, os.path.join(output, name))
    except Exception as error:  # noqa: BLE001 - a model without is still of use, and is said to be one
        import traceback

        traceback.print_exc()
        warnings.append(f"There is no OpenVINO tokenizer beside it: {first_line(error)}")


def tokenize_pairs(request):
    """A server of rerankers puts query and document together itself: a tokenizer that adds nothing between them."""
    from openvino import save_model
    from openvino_tokenizers import convert_tokenizer
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(request["name"], trust_remote_code=request["trustRemoteCode"])
    tokenizer.model_max_length = request["pairs"]["length"]
    tokenizer.save_pretrained(request["output"])
    model = convert_tokenizer(tokenizer, add_special_tokens=False)
    save_model(model, os.path.join(request["output"], "openvino_tokenizer.xml"))


def make_static(request, emit):
    """Gives every open dimension of an input a size, by the input's name: some devices run nothing else."""
    import openvino as ov

    emit("stage", stage="Fixing the shapes")
    core = ov.Core()
    path = os.path.join(request["output"], "openvino_model.xml")
    model = core.read_model(path)
    sizes = request["shape"]
    unknown = [port.any_name for port in model.inputs if port.any_name not in sizes]
    if unknown:
        raise Refused(
            f"the sizes of its input {unknown[0]} are not known, and the device runs fixed shapes only",
            "convert it for CPU or GPU",
        )
    model.reshape({port.any_name: sizes[port.any_name] for port in model.inputs})
    # Weights are read as they are needed, so the file that they are in stays until the new one is there.
    fixed = os.path.join(request["output"], "fixed.xml")
    ov.save_model(model, fixed, compress_to_fp16=False)
    del model
    for ending in (".xml", ".bin"):
        os.replace(fixed[: -len(".xml")] + ending, path[: -len(".xml")] + ending)


def precision_note(request):
    """What to say when the weights are not what was asked for, although nothing failed."""
    precision = request["precision"]
    if precision not in COMPRESSED:
        return None
    held = set()
    for directory, _directories, files in os.walk(request["output"]):
        for file in files:
            if file.endswith(".xml") and "tokenizer" not in file:
                with open(os.path.join(directory, file), encoding="utf-8") as lines:
                    for line in lines:
                        held.update(re.findall(r'element_type="(\w+)"', line))
    if held.intersection(COMPRESSED[precision]):
        return None
    return none_compressed(precision, held)


def versions(packages):
    from importlib import metadata

    return {name: metadata.version(name) for name in packages}


if __name__ == "__main__":
    serve({"convert": convert, "check": check_alone})
