"""Reads graph.pbtxt files with protobuf's own parser and prints what they say as JSON lines.

The messages are the parts of MediaPipe's and OVMS' that graphs use, with the types that OVMS gives the fields.
"""

import json
import sys

from google.protobuf import any_pb2, descriptor_pb2, descriptor_pool, json_format, message_factory, text_format

F = descriptor_pb2.FieldDescriptorProto
TYPES = {
    "string": F.TYPE_STRING,
    "bool": F.TYPE_BOOL,
    "uint64": F.TYPE_UINT64,
    "float": F.TYPE_FLOAT,
}

MEDIAPIPE = {
    "CalculatorGraphConfig": ["*input_stream:string", "*output_stream:string", "*node:Node"],
    "Node": [
        "name:string",
        "calculator:string",
        "*input_stream:string",
        "*input_side_packet:string",
        "*output_stream:string",
        "*input_stream_info:InputStreamInfo",
        "*node_options:.google.protobuf.Any",
        "input_stream_handler:InputStreamHandlerConfig",
    ],
    "InputStreamInfo": ["tag_index:string", "back_edge:bool"],
    "InputStreamHandlerConfig": ["input_stream_handler:string", "options:MediaPipeOptions"],
    "MediaPipeOptions": [],
    "SyncSet": ["*tag_index:string"],
    "SyncSetInputStreamHandlerOptions": ["*sync_set:SyncSet"],
    "LLMCalculatorOptions": [
        "models_path:string",
        "pipeline_type:=PipelineType",
        "plugin_config:string",
        "enable_prefix_caching:bool",
        "cache_size:uint64",
        "max_num_batched_tokens:uint64",
        "dynamic_split_fuse:bool",
        "max_num_seqs:uint64",
        "device:string",
        "draft_models_path:string",
        "draft_device:string",
        "draft_eagle3_mode:bool",
        "reasoning_parser:string",
        "tool_parser:string",
        "enable_tool_guided_generation:bool",
    ],
    "EmbeddingsCalculatorOVOptions": [
        "models_path:string",
        "plugin_config:string",
        "normalize_embeddings:bool",
        "pooling:=Pooling",
        "truncate:bool",
        "target_device:string",
    ],
    "RerankCalculatorOVOptions": ["models_path:string", "plugin_config:string", "target_device:string"],
    "ImageGenCalculatorOptions": [
        "models_path:string",
        "plugin_config:string",
        "device:string",
        "resolution:string",
        "num_images_per_prompt:uint64",
        "guidance_scale:float",
        "max_resolution:string",
        "default_resolution:string",
        "max_num_images_per_prompt:uint64",
        "default_num_inference_steps:uint64",
        "max_num_inference_steps:uint64",
        "*lora_adapters:LoraAdapter",
        "*composite_lora_adapters:CompositeLoraAdapter",
    ],
    "LoraAdapter": ["alias:string", "path:string", "alpha:float", "mode:=LoraMode"],
    "CompositeLoraAdapter": ["alias:string", "*components:Component"],
    "Component": ["adapter_alias:string", "alpha:float"],
    "T2sCalculatorOptions": [
        "models_path:string",
        "plugin_config:string",
        "target_device:string",
        "*voices:Voice",
    ],
    "Voice": ["name:string", "path:string"],
    "S2tCalculatorOptions": [
        "models_path:string",
        "plugin_config:string",
        "target_device:string",
        "enable_word_timestamps:bool",
    ],
}
ENUMS = {
    "PipelineType": ["LM", "LM_CB", "VLM", "VLM_CB", "AUTO"],
    "Pooling": ["CLS", "LAST", "MEAN"],
    "LoraMode": ["STATIC", "DYNAMIC"],
}


def described():
    file = descriptor_pb2.FileDescriptorProto(name="graph.proto", package="mediapipe", syntax="proto2")
    file.dependency.append("google/protobuf/any.proto")
    for name, values in ENUMS.items():
        enum = file.enum_type.add(name=name)
        for number, value in enumerate(values):
            enum.value.add(name=value, number=number)
    for name, fields in MEDIAPIPE.items():
        message = file.message_type.add(name=name)
        for number, field in enumerate(fields, 1):
            label = F.LABEL_REPEATED if field.startswith("*") else F.LABEL_OPTIONAL
            field_name, kind = field.lstrip("*").split(":")
            added = message.field.add(name=field_name, number=number, label=label)
            if kind in TYPES:
                added.type = TYPES[kind]
            elif kind.startswith("="):
                added.type, added.type_name = F.TYPE_ENUM, ".mediapipe." + kind[1:]
            else:
                added.type = F.TYPE_MESSAGE
                added.type_name = kind if kind.startswith(".") else ".mediapipe." + kind
        if name == "MediaPipeOptions":
            message.extension_range.add(start=20000, end=536870912)
        if name == "SyncSetInputStreamHandlerOptions":
            message.extension.add(
                name="ext",
                number=99999,
                label=F.LABEL_OPTIONAL,
                type=F.TYPE_MESSAGE,
                type_name=".mediapipe.SyncSetInputStreamHandlerOptions",
                extendee=".mediapipe.MediaPipeOptions",
            )
    return file


def main():
    pool = descriptor_pool.DescriptorPool()
    pool.AddSerializedFile(any_pb2.DESCRIPTOR.serialized_pb)
    file = described()
    pool.AddSerializedFile(file.SerializeToString())
    graph = message_factory.GetMessageClass(pool.FindMessageTypeByName("mediapipe.CalculatorGraphConfig"))
    for name in MEDIAPIPE:
        message_factory.GetMessageClass(pool.FindMessageTypeByName("mediapipe." + name))
    for path in sys.argv[1:]:
        with open(path, encoding="utf-8") as text:
            parsed = text_format.Parse(text.read(), graph(), descriptor_pool=pool)
        said = json_format.MessageToDict(parsed, preserving_proto_field_name=True, descriptor_pool=pool)
        print(json.dumps(said))


main()
