#!/usr/bin/env python3
"""SASS instructions per needed tensor-core instruction in the main loop of each kernel of a cubin.

    pip install nvidia-cuda-nvdisasm          # or set NVDISASM to an nvdisasm
    nvcc -std=c++17 -O3 -I kernels -arch=sm_80 -cubin -o flash_forward.cubin kernels/attention/flash_forward.cu
    python3 tools/sass_ratio.py flash_forward.cubin

The main loop is the innermost loop of the machine code that holds all HMMA of the loop around it. Where products have
loops of their own inside (f32), --inner says how often those are gone through. Printed are the instructions on ways once round
it, over the HMMA that the way executes (every one of ours is needed: check it against `needed`, from the tile sizes):

    steady    the shortest way that starts the next tile's copies and executes all HMMA: a full tile in which no maximum
              moves, and no feature is asked for
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
    # Between a jump and a label there may be nothing, which nothing leads to.
    alive = reachable(blocks, "entry") | {"entry"}
    return {name: block for name, block in blocks.items() if name in alive}


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
    """(header, names) of the innermost loop that holds all HMMA of the loop around it."""
    best, inside = (None, None), set(blocks)
    while True:
        header, loop = largest_loop(blocks, inside)
        if header is None or (best[1] and count(blocks, loop, "HMMA") < count(blocks, best[1], "HMMA")):
            return best
        # Without its header a loop falls apart into those inside it.
        best, inside = (header, loop), loop - {header}


def loops(blocks, inside):
    """(header, names) of the strongly connected parts of `inside` that hold HMMA, in the order of the code."""
    before = {name: [n for n in inside if name in blocks[n].successors] for name in inside}
    after = {name: [n for n in blocks[name].successors if n in inside] for name in inside}

    def walk(name, edges, seen):
        """Names reached first from `name`, each after those that it leads to."""
        seen.add(name)
        stack, done = [(name, iter(edges[name]))], []
        while stack:
            following = next((n for n in stack[-1][1] if n not in seen), None)
            if following is None:
                done.append(stack.pop()[0])
            else:
                seen.add(following)
                stack.append((following, iter(edges[following])))
        return done

    seen, order = set(), []
    for name in (n for n in blocks if n in inside):
        order += walk(name, after, seen) if name not in seen else []
    seen, found = set(), []
    for name in reversed(order):
        part = set(walk(name, before, seen)) if name not in seen else set()
        entered = [n for n in blocks if n in part and any(n in b.successors for o, b in blocks.items() if o not in part)]
        if entered and count(blocks, part, "HMMA") and any(n in blocks[o].successors for o in part for n in part):
            found.append((entered[0], part))
    places = {name: place for place, name in enumerate(blocks)}
    return sorted(found, key=lambda loop: places[loop[0]])


def largest_loop(blocks, inside):
    """(header, names) of that with most HMMA."""
    return max(loops(blocks, inside), key=lambda loop: count(blocks, loop[1], "HMMA"), default=(None, None))


def round_trip(blocks, header, loop, weight):
    """The way once round the loop whose blocks' weights add up to the least: (weight, names). Weights are tuples, which
    compare element by element; a negative element is one to have much of. An inner loop is gone through once."""
    best = {}

    def least(name, open_names):
        """The least from `name` on to the end of the round, itself included."""
        if name not in best:
            ends = []
            for successor in blocks[name].successors:
                if successor == header:
                    ends.append((weight(name), [name]))
                elif successor in loop and successor not in open_names:
                    total, names = least(successor, open_names | {successor})
                    if names:
                        ends.append((tuple(map(sum, zip(weight(name), total))), [name] + names))
            best[name] = min(ends, default=((), []))
        return best[name]

    return least(header, {header})


def trips(blocks, loop, header, inner):
    """How often each block runs in one round: those of the loops with HMMA inside the loop, in the order of the code and
    outer ones first, as often as `inner` says, the others once."""
    times, rounds = dict.fromkeys(loop, 1), list(inner)

    def count_loops(inside):
        for inner_header, names in loops(blocks, inside):
            factor = rounds.pop(0) if rounds else 1
            times.update({name: times[name] * factor for name in names})
            count_loops(names - {inner_header})

    count_loops(loop - {header})
    return times


def report(name, lines, needed, inner):
    blocks = control_flow(lines)
    header, loop = main_loop(blocks)
    if header is None:
        print(f"{name}: no loop with HMMA")
        return
    local = count(blocks, blocks, "LDL") + count(blocks, blocks, "STL")
    times = trips(blocks, loop, header, inner)

    def run(names, opcode=None):
        return sum(times[n] * count(blocks, [n], opcode) for n in names)

    def steady_weight(n):
        return (-run([n], "LDGSTS"), -run([n], "HMMA"), run([n]))

    _, steady = round_trip(blocks, header, loop, steady_weight)
    # What rescaling adds are shuffles, multiplications and exponentials; masks compare integers and select.
    kept = {n for n in loop if n in steady or not (count(blocks, [n], "FSEL") or count(blocks, [n], "ISETP"))}
    _, rescaled = round_trip(blocks, header, kept, lambda n: (-run([n], "LDGSTS"), -run([n], "HMMA"), -run([n])))
    tensor = run(steady, "HMMA")
    mix = collections.Counter()
    for n in steady:
        for instruction in blocks[n].instructions:
            mix[instruction.split(".")[0]] += times[n]
    print(f"{name}: HMMA {tensor}" + (f" (needed {needed})" if needed else "") + f", LDL+STL {local}")
    for label, value in (("steady", run(steady)), ("rescaled", run(rescaled)), ("static", count(blocks, loop))):
        print(f"  {label:9}{value:5} instructions  {value / tensor:.2f} per HMMA")
    print("  steady mix: " + " ".join(f"{opcode} {n}" for opcode, n in mix.most_common()))


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("cubin")
    parser.add_argument("--kernel", help="only kernels whose name contains this")
    parser.add_argument("--inner", type=int, nargs="+", default=[], help="rounds of the loops with HMMA inside the main loop")
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
            report(name, lines, arguments.needed, arguments.inner)


if __name__ == "__main__":
    main()
