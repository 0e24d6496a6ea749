#!/usr/bin/env python3
"""How far the time model's count of machine instructions is from machine code.

    pip install nvidia-cuda-nvdisasm          # or set NVDISASM to an nvdisasm
    nvcc -std=c++17 -O3 -I kernels -arch=sm_80 -cubin -o flash_forward.cubin kernels/attention/flash_forward.cu
    nvcc -std=c++17 -O3 -I kernels -arch=sm_80 -cubin -o flash_backward.cubin kernels/attention/flash_backward.cu
    llm-kernels --device software:sm_80 --json model --published > published.json
    python3 tools/instruction_error.py published.json flash_forward.cubin flash_backward.cubin

Compared are instructions for each mma of the tensor cores: in machine code on the steady way round the main loop, as
tools/sass_ratio.py finds it; in the model those of the whole launch, of the longest sequence without a mask, where prologue,
epilogue and first tiles count little, but count.
"""

import json
import subprocess
import sys

import sass_ratio


def steady(cubin):
    """Kernel name -> instructions for each HMMA on the steady way."""
    text = subprocess.run([sass_ratio.find_nvdisasm(), "-c", cubin], check=True, capture_output=True, text=True).stdout
    functions, current = {}, None
    for line in text.splitlines():
        start = sass_ratio.FUNCTION.match(line)
        if start:
            current = functions.setdefault(start.group(1), [])
        elif line.lstrip().startswith(".section"):
            current = None
        elif current is not None:
            current.append(line)
    ratios = {}
    for name, lines in functions.items():
        blocks = sass_ratio.control_flow(lines)
        header, loop = sass_ratio.main_loop(blocks)
        if header is None:
            continue

        def weight(block):
            count = sass_ratio.count
            return (-count(blocks, [block], "LDGSTS"), -count(blocks, [block], "HMMA"), count(blocks, [block]))

        _, way = sass_ratio.round_trip(blocks, header, loop, weight)
        ratios[name] = sass_ratio.count(blocks, way) / sass_ratio.count(blocks, way, "HMMA")
    return ratios


def main():
    if len(sys.argv) < 3:
        sys.exit(__doc__)
    with open(sys.argv[1], encoding="utf-8") as file:
        rows = json.load(file)["rows"]
    machine = {}
    for cubin in sys.argv[2:]:
        machine.update(steady(cubin))
    longest = {}
    for row in rows:
        if not row["causal"] and row["s"] >= longest.get(row["d"], row)["s"]:
            longest[row["d"]] = row
    print("| kernel | machine code, instructions for each mma | model | error |\n|---|---|---|---|")
    for d, row in sorted(longest.items()):
        for part in row["passes"]:
            name = f"{part['op']}_f16_d{d}"
            if name in machine:
                found, model = machine[name], part["instructions_per_mma"]
                print(f"| `{name}` | {found:.2f} | {model:.2f} | {100 * (model / found - 1):+.0f} % |")


if __name__ == "__main__":
    main()
