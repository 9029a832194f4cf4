"""Exports one tiny model per library in an environment of `optimum`, runs what came of it, and says what the tools state.

    python -I -B prove_lock.py LOCK OWN_KIND FACTS RESULT

OWN_KIND is a kind of tiny model that this lock is there for. FACTS gets what `converters/requirements/optimum_models.py`
reads, RESULT for each model its differences to the original, both as JSON.
"""

import json
import os
import sys
import tempfile
import time
import traceback
import warnings
from pathlib import Path

HERE = Path(__file__).resolve().parent
# Isolated mode leaves out the script's own directory.
sys.path[:0] = [str(HERE), *(str(HERE.parent.parent / "converters" / part) for part in ("python", "requirements"))]
os.environ["HF_HUB_OFFLINE"] = "1"
warnings.simplefilter("ignore")

import numpy  # noqa: E402
import optimum_models  # noqa: E402
import optimum_timm  # noqa: E402
import tiny_models  # noqa: E402
import torch  # noqa: E402
from optimum.exporters.openvino.__main__ import _main_quantize, main_export  # noqa: E402
from optimum.intel import OVConfig  # noqa: E402
from optimum.intel.openvino.configuration import OVWeightQuantizationConfig  # noqa: E402

# What `optimum-cli export openvino --weight-format int8` makes of its arguments.
INT8 = {"bits": 8, "ratio": 1.0, "sym": False, "group_size": -1, "dtype": "int8"}
EXACT = {"INFERENCE_PRECISION_HINT": "f32"}
PAST = "-with-past"


def prove(kind, library, task, run, work):
    """Runs an export in fp32 and its int8 beside the original: largest difference of each, relative to the largest value."""
    started = time.monotonic()
    source, output = work / kind, work / f"{kind}-ir"
    tiny_models.KINDS[kind](source)
    # As the worker does.
    export = optimum_timm.main_export if library == "timm" else main_export
    export(str(source), output=output, task=task, framework="pt", ov_config=OVConfig(dtype="fp32"), library_name=library)
    expected = run(source, None)
    differences = {"fp32": difference(run(source, output), expected)}
    _main_quantize(model_name_or_path=str(source), task=task, library_name=library, output=output, cache_dir=None,
                   quantization_config=OVWeightQuantizationConfig(**INT8))
    differences["int8"] = difference(run(source, output), expected)
    files = sorted(str(path.relative_to(output)) for path in output.rglob("*.xml"))
    quantized = [name for name in files if 'element_type="u8"' in (output / name).read_text()]
    return {"kind": kind, "library": library, "task": task, "files": files, "quantized": quantized,
            "differences": differences, "seconds": round(time.monotonic() - started, 1)}


def difference(actual, expected):
    assert actual.shape == expected.shape, f"{actual.shape} is not {expected.shape}"
    assert numpy.isfinite(actual).all()
    scale = max(1.0, float(numpy.abs(expected).max()))
    return float(numpy.abs(actual.astype(numpy.float64) - expected).max()) / scale


def encode(source, output):
    from optimum.intel import OVModelForFeatureExtraction
    from transformers import AutoModel, AutoTokenizer

    inputs = AutoTokenizer.from_pretrained(source)(tiny_models.TEXTS, padding=True, return_tensors="pt")
    model = AutoModel.from_pretrained(source) if output is None else OVModelForFeatureExtraction.from_pretrained(
        output, ov_config=EXACT)
    with torch.no_grad():
        hidden = model(**inputs).last_hidden_state
    return hidden[inputs["attention_mask"].bool()].numpy()


def embed(source, output):
    from optimum.intel import OVSentenceTransformer
    from sentence_transformers import SentenceTransformer

    model = SentenceTransformer(str(source), device="cpu") if output is None else OVSentenceTransformer.from_pretrained(
        output, ov_config=EXACT)
    return numpy.asarray(model.encode(tiny_models.TEXTS))


def next_scores(auto, ours):
    """Logits of the next token after each text: of a language model, or of a decoder behind an encoder."""

    def run(source, output):
        import transformers
        from optimum import intel
        from transformers import AutoTokenizer

        inputs = AutoTokenizer.from_pretrained(source)(tiny_models.TEXTS[0], return_tensors="pt")
        inputs.pop("token_type_ids", None)
        if output is None:
            model = getattr(transformers, auto).from_pretrained(source).eval()
        else:
            model = getattr(intel, ours).from_pretrained(output, ov_config=EXACT)
        if "Seq2Seq" in auto:
            inputs["decoder_input_ids"] = torch.tensor([[0, 5]])
        with torch.no_grad():
            return model(**inputs).logits[:, -1].numpy()

    return run


def draw(source, output):
    from diffusers import StableDiffusionPipeline
    from optimum.intel import OVStableDiffusionPipeline

    pipeline = StableDiffusionPipeline.from_pretrained(source) if output is None else (
        OVStableDiffusionPipeline.from_pretrained(output, ov_config=EXACT))
    pipeline.set_progress_bar_config(disable=True)
    latents = torch.from_numpy(numpy.random.default_rng(0).standard_normal((1, 4, 8, 8), dtype=numpy.float32))
    return pipeline("a cat", num_inference_steps=1, height=16, width=16, latents=latents, output_type="np").images


def classify(source, output):
    import openvino

    images = numpy.random.default_rng(0).standard_normal((2, 3, 32, 32), dtype=numpy.float32)
    if output is None:
        with torch.no_grad():
            return local_timm(source)(torch.from_numpy(images)).numpy()
    return openvino.Core().compile_model(output / "openvino_model.xml", "CPU", EXACT)(images)[0]


def local_timm(source):
    import timm

    return timm.create_model(f"local-dir:{source}", pretrained=True, exportable=True).eval()


def attempt(kind, *what):
    """What one model shows is worth knowing when another fails."""
    try:
        return prove(kind, *what)
    except Exception:
        return {"kind": kind, "error": traceback.format_exc()}


LANGUAGE = ("transformers", "text-generation" + PAST, next_scores("AutoModelForCausalLM", "OVModelForCausalLM"))
SEQ2SEQ = ("transformers", "text2text-generation" + PAST, next_scores("AutoModelForSeq2SeqLM", "OVModelForSeq2SeqLM"))
COMMON = {
    "bert": ("transformers", "feature-extraction", encode),
    "sentence-transformers": ("sentence_transformers", "feature-extraction", embed),
    "diffusion": ("diffusers", "text-to-image", draw),
    "timm": ("timm", "image-classification", classify),
}
OWN = {"llama": LANGUAGE, "gemma": LANGUAGE, "glm": LANGUAGE, "exaone4": LANGUAGE, "mt5": SEQ2SEQ,
       "nystromformer": COMMON["bert"]}

if __name__ == "__main__":
    lock, own, facts, result = sys.argv[1:]
    with tempfile.TemporaryDirectory(dir=Path(result).parent) as work:
        models = [attempt(kind, *what, Path(work)) for kind, what in {**COMMON, own: OWN[own]}.items()]
    Path(result).write_text(json.dumps(models))
    Path(facts).write_text(json.dumps(optimum_models.read(lock)))
