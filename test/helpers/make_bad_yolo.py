"""Files that end in .pt and are no YOLO models: into the directory that is named."""

import os
import sys
from pathlib import Path

import torch

directory = Path(sys.argv[1])


class Evil:
    def __reduce__(self):
        return os.system, (f"touch {directory / 'ran'}",)


torch.save({"model": Evil()}, directory / "evil.pt")
torch.save({"model": Evil()}, directory / "evil-legacy.pt", _use_new_zipfile_serialization=False)
torch.save({"layer.weight": torch.zeros(3)}, directory / "state.pt")
torch.jit.save(torch.jit.script(torch.nn.Linear(2, 2)), directory / "script.pt")
(directory / "text.pt").write_text("hello world")
(directory / "empty.pt").touch()
sound = (directory / "yolo11n.pt").read_bytes()
(directory / "cut.pt").write_bytes(sound[: len(sound) // 2])
