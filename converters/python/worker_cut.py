"""The part of a model between tensors that a published recipe names, in the words of Model Optimizer."""

import re

from worker_inputs import label, names_of
from worker_protocol import Refused


def cut(ov, model, begins, ends):
    """The model from the tensors `begins`, which become its inputs in this order, to `ends` (None: as it ends)."""
    results = [port.node.input_value(0) for port in model.outputs]
    outputs = [found(model, name, "end") for name in ends] if ends else results
    parameters = [parameter_at(ov, model, name) for name in begins] if begins else model.get_parameters()
    try:
        return ov.Model(outputs, parameters, model.get_friendly_name())
    except RuntimeError as error:
        others = ", ".join(label(port) for port in model.inputs if port.node not in parameters)
        raise Refused(
            f"its published recipe begins at {', '.join(begins)}, and it needs more than that: {others}", WITHOUT
        ) from error


WITHOUT = "name the file that is to be converted to leave its published recipe out, and set what its inputs need"


def found(model, name, where):
    """An output of an operation: `tensor`, `operation`, or `operation:port`."""
    wanted = {name, f"{name}:0", re.sub(r":0$", "", name)}
    ports = [port for node in model.get_ops() for port in node.outputs()]
    for port in ports:
        if wanted & port.names:
            return port
    for port in ports:
        if port.node.get_friendly_name() in wanted and port.node.get_output_size() == 1:
            return port
    raise Refused(f"the model has no tensor {name}, which it should {where} at", WITHOUT)


def parameter_at(ov, model, name):
    for port in model.inputs:
        if {name, f"{name}:0", re.sub(r":0$", "", name)} & names_of(port):
            return port.node
    given = re.match(r"(\d+):(.+)$", name)
    source = input_of(model, given[2], int(given[1])) if given else found(model, name, "begin")
    parameter = ov.opset15.parameter(source.get_partial_shape(), source.get_element_type(), name=name)
    parameter.output(0).set_names({name})
    for target in list(source.get_target_inputs()):
        if not given or target.get_node().get_friendly_name() == given[2]:
            target.replace_source_output(parameter.output(0))
    return parameter


def input_of(model, name, index):
    """What an input of an operation takes: `index:operation`."""
    for node in model.get_ops():
        if node.get_friendly_name() == name and index < node.get_input_size():
            return node.input_value(index)
    raise Refused(f"the model has no input {index} of {name}, which it should begin at", WITHOUT)
