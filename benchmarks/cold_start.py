"""How long does a reader wait for the first clip, and for the next? `python benchmarks/cold_start.py [--repeat 5]`

Each repetition is a new Python process: import, load, first clip, second clip. Prints medians and writes
benchmarks/results/cold-start.json.
"""

import argparse
import json
import platform
import statistics
import subprocess
import sys
from pathlib import Path

RESULT = Path(__file__).parent / "results" / "cold-start.json"
STEPS = ("import", "load", "first clip", "next clip")
CHILD = """
import json, time
at = [time.perf_counter()]
from t2vlearn import TextToVideoPipeline; at.append(time.perf_counter())
pipe = TextToVideoPipeline.from_pretrained(); at.append(time.perf_counter())
for seed in (0, 1):
    pipe("a brown puppy plays in the park", seed=seed); at.append(time.perf_counter())
import torch
print(json.dumps([[b - a for a, b in zip(at, at[1:])], torch.get_num_threads()]))
"""


def main() -> None:
    """Measure, print, write."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repeat", type=int, default=5, help="processes to start")
    repeat = parser.parse_args().repeat
    rows, threads = [], 0
    for _ in range(repeat):
        answer = subprocess.run([sys.executable, "-c", CHILD], capture_output=True, text=True, check=True).stdout
        seconds, threads = json.loads(answer.splitlines()[-1])
        rows.append(seconds)
    result = {
        name: {
            "median": round(statistics.median(values), 2),
            "least": round(min(values), 2),
            "most": round(max(values), 2),
        }
        for name, values in zip(STEPS, zip(*rows, strict=True), strict=True)
    }
    print(f"{repeat} processes, {threads} threads, seconds:")
    for name, value in result.items():
        print(f"  {name:11} {value['median']:6.2f}  ({value['least']:.2f} to {value['most']:.2f})")
    machine = {
        "threads": threads,
        "processor": platform.processor() or platform.machine(),
        "python": platform.python_version(),
    }
    RESULT.write_text(json.dumps({"repeat": repeat, "machine": machine, "seconds": result}, indent=1) + "\n")


if __name__ == "__main__":
    main()
