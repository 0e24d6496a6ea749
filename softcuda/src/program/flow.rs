//! Control flow: basic blocks and the points where diverged threads meet again (immediate post-dominators).

use super::lower::control;
use crate::ptx::ast::{Body, Instruction, Operand};
use crate::ptx::isa::{Modifier, Opcode, Pipe};

/// A run of instructions entered only at its start and left only at its end.
#[derive(Clone, Debug)]
pub(crate) struct BasicBlock {
    /// First instruction.
    pub(crate) start: usize,
    /// One past the last.
    pub(crate) end: usize,
    /// Blocks that may follow; [`Flow::exit`] stands for the end of the thread.
    pub(crate) successors: Vec<usize>,
    /// Where threads that diverge at its end meet again; [`Flow::exit`] if only at their end.
    pub(crate) reconvergence: usize,
}

/// The control-flow graph.
#[derive(Clone, Debug)]
pub(crate) struct Flow {
    /// Blocks in program order.
    pub(crate) blocks: Vec<BasicBlock>,
    /// Block that starts at an instruction, by instruction.
    pub(crate) block_at: Vec<Option<usize>>,
}

impl Flow {
    /// The virtual block after every exit.
    pub(crate) fn exit(&self) -> usize {
        self.blocks.len()
    }

    /// Builds the graph.
    pub(crate) fn new(body: &Body) -> Flow {
        let count = body.instructions.len();
        let mut leader = vec![false; count + 1];
        leader[0] = true;
        for label in &body.labels {
            leader[label.target] = true;
        }
        for (i, instruction) in body.instructions.iter().enumerate() {
            if ends_block(instruction.row.opcode) {
                leader[i + 1] = true;
            }
            // Threads whose guard is false go around an instruction that waits: it gets a block of its own.
            if instruction.guard.is_some() && control::waits(instruction) {
                leader[i] = true;
                leader[i + 1] = true;
            }
        }
        let starts: Vec<usize> = (0..count).filter(|&i| leader[i]).collect();
        let mut block_at = vec![None; count + 1];
        for (number, &start) in starts.iter().enumerate() {
            block_at[start] = Some(number);
        }
        let exit = starts.len();
        let mut blocks: Vec<BasicBlock> = starts
            .iter()
            .enumerate()
            .map(|(number, &start)| BasicBlock {
                start,
                end: starts.get(number + 1).copied().unwrap_or(count),
                successors: Vec::new(),
                reconvergence: exit,
            })
            .collect();
        for (number, block) in blocks.iter_mut().enumerate() {
            block.successors = successors(body, &block_at, block.end - 1, number, exit);
        }
        post_dominators(&mut blocks);
        Flow { blocks, block_at }
    }

    /// Whether a block is a loop that waits for a store of others: it loads with an order, or anew each time, and does nothing
    /// that others see.
    pub(crate) fn waits(&self, body: &Body, number: usize) -> bool {
        let block = &self.blocks[number];
        let instructions = &body.instructions[block.start..block.end];
        let ordered = [Modifier::Acquire, Modifier::Relaxed, Modifier::Volatile];
        let polls = |one: &Instruction| {
            one.row.opcode == Opcode::Ld && ordered.into_iter().any(|order| one.modifiers.has(order))
        };
        let quiet = |one: &Instruction| match one.row.pipe {
            Pipe::Lsu => polls(one),
            Pipe::Tensor => false,
            Pipe::Control => !matches!(one.row.opcode, Opcode::Bar | Opcode::Barrier),
            _ => true,
        };
        block.successors.contains(&number) && instructions.iter().any(polls) && instructions.iter().all(quiet)
    }
}

/// Whether an instruction can send a thread elsewhere than to the next one.
fn ends_block(opcode: Opcode) -> bool {
    matches!(
        opcode,
        Opcode::Bra | Opcode::BrxIdx | Opcode::Call | Opcode::Exit | Opcode::Ret | Opcode::Trap | Opcode::Brkpt
    )
}

fn successors(body: &Body, block_at: &[Option<usize>], last: usize, number: usize, exit: usize) -> Vec<usize> {
    let instruction = &body.instructions[last];
    let mut list = Vec::new();
    match instruction.row.opcode {
        Opcode::Bra => {
            if let Some(Operand::Label(label)) = instruction.operands.first() {
                // A label at the end of the body stands before the implicit return.
                list.push(block_at[body.labels[label.0 as usize].target].unwrap_or(exit));
            }
        }
        Opcode::BrxIdx => {
            if let Some(Operand::Vector(labels)) = instruction.operands.get(1) {
                for label in labels {
                    if let Operand::Label(label) = label {
                        let target = block_at[body.labels[label.0 as usize].target].unwrap_or(exit);
                        if !list.contains(&target) {
                            list.push(target);
                        }
                    }
                }
            }
        }
        Opcode::Exit | Opcode::Ret | Opcode::Trap | Opcode::Brkpt => list.push(exit),
        _ => {
            list.push(number + 1);
            return list;
        }
    }
    if instruction.guard.is_some() && !list.contains(&(number + 1)) {
        list.push(number + 1);
    }
    list
}

/// Immediate post-dominators by the iterative algorithm of Cooper, Harvey and Kennedy ("A Simple, Fast Dominance
/// Algorithm", 2001) on the reversed graph, rooted at the virtual exit.
///
/// Threads that end meet nobody, and the others need not wait for them: only the last block that ends every thread leads to
/// the virtual exit, so that a `ret` or `exit` inside a loop does not keep those that stay from meeting behind it.
fn post_dominators(blocks: &mut [BasicBlock]) {
    let exit = blocks.len();
    let last = blocks.iter().rposition(|block| block.successors == [exit]);
    let counts = |number: usize, next: usize| next != exit || Some(number) == last;
    let mut predecessors = vec![Vec::new(); exit + 1];
    for (number, block) in blocks.iter().enumerate() {
        for &next in block.successors.iter().filter(|&&next| counts(number, next)) {
            predecessors[next].push(number);
        }
    }
    // Post-order of the reversed graph from the exit.
    let mut order = Vec::with_capacity(exit + 1);
    let mut rank = vec![usize::MAX; exit + 1];
    let mut visited = vec![false; exit + 1];
    let mut stack = vec![(exit, 0)];
    visited[exit] = true;
    while let Some((node, next)) = stack.pop() {
        if let Some(&predecessor) = predecessors[node].get(next) {
            stack.push((node, next + 1));
            if !visited[predecessor] {
                visited[predecessor] = true;
                stack.push((predecessor, 0));
            }
        } else {
            rank[node] = order.len();
            order.push(node);
        }
    }
    let mut immediate = vec![usize::MAX; exit + 1];
    immediate[exit] = exit;
    let mut changed = true;
    while changed {
        changed = false;
        for &node in order.iter().rev().filter(|&&node| node != exit) {
            let mut best = usize::MAX;
            for &next in &blocks[node].successors {
                if immediate[next] == usize::MAX || !counts(node, next) {
                    continue;
                }
                best = if best == usize::MAX { next } else { common(&immediate, &rank, best, next) };
            }
            if best != usize::MAX && immediate[node] != best {
                immediate[node] = best;
                changed = true;
            }
        }
    }
    for (number, block) in blocks.iter_mut().enumerate() {
        // A block from which no path ends (an endless loop) meets nobody before the end.
        block.reconvergence = if immediate[number] == usize::MAX { exit } else { immediate[number] };
    }
}

fn common(immediate: &[usize], rank: &[usize], mut a: usize, mut b: usize) -> usize {
    while a != b {
        while rank[a] < rank[b] {
            a = immediate[a];
        }
        while rank[b] < rank[a] {
            b = immediate[b];
        }
    }
    a
}
