"""Sentence embeddings of exported models beside PyTorch's: MODEL TREE…, JSON by tree on standard output.

The texts are tokenized by the tokenizer IR of each tree, and by transformers for PyTorch.
"""

import json
import sys

import numpy
import openvino_tokenizers  # noqa: F401 - the operations of tokenizer IRs
import torch
from openvino import Core
from transformers import AutoModel, AutoTokenizer

TEXTS = [
    "A man is eating food.",
    "A man is eating a piece of bread.",
    "The girl is carrying a baby.",
    "A woman is playing violin.",
    "Two men pushed carts through the woods.",
    "A monkey is playing drums.",
    "A cheetah is running behind its prey.",
    "The new movie is awesome.",
    "Deep learning requires a lot of data.",
    "Es regnet in München.",
]


def pooled(states, mask):
    weights = mask[..., None].astype(numpy.float32)
    return (states * weights).sum(axis=1) / weights.sum(axis=1)


def original(path):
    tokenizer = AutoTokenizer.from_pretrained(path)
    inputs = tokenizer(TEXTS, padding=True, return_tensors="pt")
    with torch.no_grad():
        states = AutoModel.from_pretrained(path, dtype=torch.float32).eval()(**inputs).last_hidden_state
    return inputs["input_ids"].numpy(), pooled(states.numpy(), inputs["attention_mask"].numpy())


def exported(tree):
    core = Core()
    tokenizer = core.compile_model(f"{tree}/openvino_tokenizer.xml", "CPU")
    model = core.compile_model(f"{tree}/openvino_model.xml", "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
    tokens = tokenizer(TEXTS)
    named = {port.any_name: tokens[port] for port in tokenizer.outputs}
    states = model({port.any_name: named[port.any_name] for port in model.inputs})[0]
    return named["input_ids"], pooled(states, named["attention_mask"])


def main(path, trees):
    ids, expected = original(path)
    report = {}
    for tree in trees:
        own, actual = exported(tree)
        norms = numpy.linalg.norm(expected, axis=1) * numpy.linalg.norm(actual, axis=1)
        report[tree] = {
            "sameTokens": bool(numpy.array_equal(ids, own)),
            "maxDifference": float(numpy.abs(expected - actual).max()),
            "cosine": float(((expected * actual).sum(axis=1) / norms).min()),
        }
    print(json.dumps(report))


main(sys.argv[1], sys.argv[2:])
