"""What AdamW takes of PyTorch."""

import subprocess
import sys

CODE = """
import sys, torch
from roclip.training.optimizer import parameter_groups
model = torch.nn.Linear(5, 3)
optimizer = torch.optim.AdamW(parameter_groups(model, 0.1), fused=True)
for _ in range(2):
    model(torch.ones(2, 5)).sum().backward()
    with torch.compiler.set_stance("force_eager"):
        optimizer.step()
print(any(name.startswith("torch._dynamo.") for name in sys.modules))
double = torch.compile(lambda x: 2 * x, backend="eager", fullgraph=True)
print(double(torch.ones(2)).tolist(), any(name.startswith("torch._dynamo.") for name in sys.modules))
optimizer.step()
"""


def test_it_takes_steps_without_the_compiler_which_is_whole_for_whoever_compiles():
    done = subprocess.run([sys.executable, "-c", CODE], capture_output=True, text=True)
    assert done.stderr == ""
    assert done.stdout.splitlines() == ["False", "[2.0, 2.0] True"]
