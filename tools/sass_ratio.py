#!/usr/bin/env python3
"""SASS instructions per needed tensor-core instruction in the main loop of each kernel of a cubin.

    pip install nvidia-cuda-nvdisasm          # or set NVDISASM to an nvdisasm
    nvcc -std=c++17 -O3 -I kernels -arch=sm_80 -cubin -o flash_forward.cubin kernels/attention/flash_forward.cu
    python3 tools/sass_ratio.py flash_forward.cubin

The main loop is the innermost loop of the machine code that holds HMMA. Printed are the instructions on ways once round
it, over the HMMA that the way executes (every one of ours is needed: check it against `needed`, from the tile sizes):

    steady    the shortest way that starts the next tile's copies: a full tile in which no maximum moves
    rescaled  the longest way that adds no masks to it: a full tile in which every row's maximum moves
    static    all instructions of the loop, masks too

NOP and instructions predicated off for good (@!PT) are not counted. Registers and local-memory instructions (LDL, STL:
spills) are those of the whole kernel.
"""

import argparse
import collections
import os
import pathlib
import re
import shutil
import subprocess
import sys

Block = collections.namedtuple("Block", "instructions successors")
INSTRUCTION = re.compile(r"^\s*/\*[0-9a-f]{4,}\*/\s+(?:(@!?U?PT?\d*)\s+)?([A-Z][A-Z0-9_.]*)\s*(.*?);")
LABEL = re.compile(r"^\s*(\.L_\w+):")
FUNCTION = re.compile(r"^\s*\.text\.([\w$]+):")
TARGET = re.compile(r"`\((\.L_\w+)\)")


def find_nvdisasm():
    """The disassembler: NVDISASM, on PATH, or inside the Python package of NVIDIA."""
    named = os.environ.get("NVDISASM") or shutil.which("nvdisasm")
    if named:
        return named
    for directory in sys.path:
        for found in pathlib.Path(directory or ".").glob("nvidia/**/bin/nvdisasm"):
            return str(found)
    sys.exit("nvdisasm not found: pip install nvidia-cuda-nvdisasm, or set NVDISASM")


def control_flow(lines):
    """Basic blocks of one function: label or number -> Block; the first is 'entry'."""
    blocks, order = {}, []
    name, instructions, successors, open_end = "entry", [], [], True

    def close(next_name):
        nonlocal name, instructions, successors, open_end
        if open_end:
            successors.append(next_name)
        blocks[name] = Block(instructions, successors)
        order.append(name)
        name, instructions, successors, open_end = next_name, [], [], True

    for line in lines:
        label = LABEL.match(line)
        if label:
            close(label.group(1))
            continue
        found = INSTRUCTION.match(line)
        if not found:
            continue
        predicate, opcode, operands = found.groups()
        if opcode == "NOP" or predicate == "@!PT":
            continue
        instructions.append(opcode)
        kind = opcode.split(".")[0]
        conditional = bool(predicate) or re.match(r"!?U?P\d", operands)
        # ptxas writes the jump out of a loop as a call that never returns.
        if kind in ("BRA", "CALL") and TARGET.search(operands):
            successors.append(TARGET.search(operands).group(1))
            open_end = bool(conditional)
            close(f"after {len(order)}")
        elif kind in ("EXIT", "RET") and not conditional:
            open_end = False
            close(f"after {len(order)}")
    close("end")
    blocks["end"] = Block([], [])
    return blocks


def count(blocks, names, opcode=None):
    return sum(1 for n in names for i in blocks[n].instructions if opcode is None or i.split(".")[0] == opcode)


def reachable(blocks, start, inside=None, without=None):
    """Names reached from the successors of `start`, staying in `inside` and off `without`."""
    seen, stack = set(), list(blocks[start].successors)
    while stack:
        name = stack.pop()
        if name in seen or name == without or name not in blocks or (inside is not None and name not in inside):
            continue
        seen.add(name)
        stack.extend(blocks[name].successors)
    return seen


def main_loop(blocks):
    """(header, names) of the innermost loop that holds HMMA, the one with most of them."""
    best, inside, without = (None, None), set(blocks), set()
    while True:
        header, loop = largest_loop(blocks, inside - without)
        if header is None:
            return best
        # Without its header an outer loop falls apart into those inside it.
        best, inside, without = (header, loop), loop, without | {header}


def largest_loop(blocks, inside):
    """(header, names) of the strongly connected part of `inside` that holds most HMMA."""
    best = (0, None, None)
    for name in inside:
        forward = reachable(blocks, name, inside)
        if name not in forward:
            continue
        loop = {n for n in forward if name in reachable(blocks, n, inside)}
        tensor = count(blocks, loop, "HMMA")
        entered = [n for n in loop if any(n in b.successors for o, b in blocks.items() if o not in loop)]
        if tensor > best[0] and entered:
            best = (tensor, entered[0], loop)
    return best[1], best[2]


def ways(blocks, header, loop):
    """All ways once round the loop, as lists of names."""
    stack = [[header]]
    while stack:
        way = stack.pop()
        for successor in blocks[way[-1]].successors:
            if successor == header:
                yield way
            elif successor in loop and successor not in way:
                stack.append(way + [successor])


def report(name, lines, needed):
    blocks = control_flow(lines)
    header, loop = main_loop(blocks)
    if header is None:
        print(f"{name}: no loop with HMMA")
        return
    local = count(blocks, blocks, "LDL") + count(blocks, blocks, "STL")
    all_ways = [(count(blocks, way), way) for way in ways(blocks, header, loop)]
    copies = max(count(blocks, way, "LDGSTS") for _, way in all_ways)
    steady = min(way for way in all_ways if count(blocks, way[1], "LDGSTS") == copies)
    # What rescaling adds are shuffles, multiplications and exponentials; masks compare integers and select.
    def plain(way):
        added = set(way) - set(steady[1])
        return not any(count(blocks, added, kind) for kind in ("FSEL", "ISETP"))

    rescaled = max(way for way in all_ways if plain(way[1]))
    static = count(blocks, loop)
    tensor = count(blocks, steady[1], "HMMA")
    mix = collections.Counter(i.split(".")[0] for n in steady[1] for i in blocks[n].instructions)
    print(f"{name}: HMMA {tensor}" + (f" (needed {needed})" if needed else "") + f", LDL+STL {local}")
    for label, value in (("steady", steady[0]), ("rescaled", rescaled[0]), ("static", static)):
        print(f"  {label:9}{value:5} instructions  {value / tensor:.2f} per HMMA")
    print("  steady mix: " + " ".join(f"{opcode} {n}" for opcode, n in mix.most_common()))


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("cubin")
    parser.add_argument("--kernel", help="only kernels whose name contains this")
    parser.add_argument("--needed", type=int, help="HMMA a tile needs, to compare with")
    arguments = parser.parse_args()
    text = subprocess.run([find_nvdisasm(), "-c", arguments.cubin], check=True, capture_output=True, text=True).stdout
    functions, current = {}, None
    for line in text.splitlines():
        start = FUNCTION.match(line)
        if start:
            current = functions.setdefault(start.group(1), [])
        elif re.match(r"^\s*\.section", line):
            current = None
        elif current is not None:
            current.append(line)
    for name, lines in sorted(functions.items()):
        if not arguments.kernel or arguments.kernel in name:
            report(name, lines, arguments.needed)


if __name__ == "__main__":
    main()
