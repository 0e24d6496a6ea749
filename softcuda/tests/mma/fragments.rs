//! Where elements of matrices are: the formulas of the PTX ISA's sections "Matrix fragments for mma", shape by shape, with its
//! names (`i` counts a lane's elements).

/// Bits of elements by row and column.
pub(crate) type Matrix = Vec<Vec<u64>>;

/// A matrix of zeros.
pub(crate) fn zeros(rows: usize, columns: usize) -> Matrix {
    vec![vec![0; columns]; rows]
}

/// Row and column of element `i` of A; `bits` is the size of an element. An A of 8 rows has its places in those of 16.
pub(crate) fn a_place(bits: usize, k: usize, lane: usize, i: usize) -> (usize, usize) {
    let (group, thread) = (lane >> 2, lane % 4);
    let below = |upper: bool| if upper { group } else { group + 8 };
    match (bits, k) {
        (16, 8) => (below(i < 2), thread * 2 + (i & 1)),
        (16, 16) => (below(i < 2 || (4..6).contains(&i)), thread * 2 + (i & 1) + if i < 4 { 0 } else { 8 }),
        (32 | 64, 4) => (below(i == 0), thread),
        (32 | 64, 8) => (below(i == 0 || i == 2), thread + if i < 2 { 0 } else { 4 }),
        (64, 16) => (below(i.is_multiple_of(2)), thread + i / 2 * 4),
        (8, 16) => (below(i < 4), thread * 4 + (i & 3)),
        (8, 32) => (below(i < 4 || (8..12).contains(&i)), thread * 4 + (i & 3) + if i < 8 { 0 } else { 16 }),
        (4, 32) => (below(i < 8), thread * 8 + (i & 7)),
        (4, 64) => (below(i < 8 || (16..24).contains(&i)), thread * 8 + (i & 7) + if i < 16 { 0 } else { 32 }),
        (1, 128) => (below(i < 32), thread * 32 + (i & 31)),
        (1, 256) => (below(i < 32 || (64..96).contains(&i)), thread * 32 + (i & 31) + if i < 64 { 0 } else { 128 }),
        other => panic!("no A of {other:?}"),
    }
}

/// Row (place) and column of element `i` of B.
pub(crate) fn b_place(bits: usize, lane: usize, i: usize) -> (usize, usize) {
    let (group, thread) = (lane >> 2, lane % 4);
    let place = match bits {
        16 => thread * 2 + (i & 1) + i / 2 * 8,
        32 | 64 => thread + i * 4,
        8 => thread * 4 + (i & 3) + i / 4 * 16,
        4 => thread * 8 + (i & 7) + i / 8 * 32,
        1 => thread * 32 + (i & 31) + i / 32 * 128,
        other => panic!("no B of {other} bits"),
    };
    (place, group)
}

/// Row and column of element `i` of an accumulator.
pub(crate) fn c_place(lane: usize, i: usize) -> (usize, usize) {
    let (group, thread) = (lane >> 2, lane % 4);
    (if i < 2 { group } else { group + 8 }, thread * 2 + (i & 1))
}

/// Registers, 32 lanes each.
pub(crate) type Registers = Vec<[u64; 32]>;

/// Packs `count` elements a lane into registers, the first in the lowest bits.
pub(crate) fn pack(bits: usize, count: usize, element: impl Fn(usize, usize) -> u64) -> Registers {
    let each = (32 / bits).max(1);
    let mut registers = vec![[0; 32]; count / each];
    for (register, lanes) in registers.iter_mut().enumerate() {
        for (lane, word) in lanes.iter_mut().enumerate() {
            for part in 0..each {
                *word |= element(lane, register * each + part) << (part * bits);
            }
        }
    }
    registers
}

/// The reverse of [`pack`]: calls `visit(lane, i, element)`.
pub(crate) fn unpack(bits: usize, registers: &Registers, mut visit: impl FnMut(usize, usize, u64)) {
    let each = (32 / bits).max(1);
    for (register, lanes) in registers.iter().enumerate() {
        for (lane, &word) in lanes.iter().enumerate() {
            for part in 0..each {
                let mask = if bits == 64 { u64::MAX } else { (1 << bits) - 1 };
                visit(lane, register * each + part, word >> (part * bits) & mask);
            }
        }
    }
}

/// Fragment of an A with `m` rows; `k` places, those of a sparse A that are stored.
pub(crate) fn a_fragment(bits: usize, m: usize, k: usize, a: &Matrix) -> Registers {
    let all = pack(bits, 16 * k / 32, |lane, i| {
        let (row, place) = a_place(bits, k, lane, i);
        a.get(row).map_or(0, |row| row[place])
    });
    // Of 8 rows only every other register exists.
    if m == 8 { all.into_iter().step_by(2).collect() } else { all }
}

/// Fragment of B.
pub(crate) fn b_fragment(bits: usize, k: usize, b: &Matrix) -> Registers {
    pack(bits, k * 8 / 32, |lane, i| {
        let (place, column) = b_place(bits, lane, i);
        b[place][column]
    })
}

/// Fragment of an accumulator.
pub(crate) fn c_fragment(bits: usize, m: usize, c: &Matrix) -> Registers {
    pack(bits, m * 8 / 32, |lane, i| {
        let (row, column) = c_place(lane, i);
        c[row][column]
    })
}

/// The matrix of an accumulator's fragment.
pub(crate) fn c_matrix(bits: usize, m: usize, registers: &Registers) -> Matrix {
    let mut c = zeros(m, 8);
    unpack(bits, registers, |lane, i, value| {
        let (row, column) = c_place(lane, i);
        c[row][column] = value;
    });
    c
}

/// Metadata of a sparse A. `chunks` are the four bits of each chunk by row; the figures of the PTX ISA: in the sections of 16-bit
/// elements and tf32 a register has 16 bits of row g below those of row g + 8; in those of smaller elements
/// neighbouring lanes have the two rows, all 32 bits. Lanes whose metadata does not count get all ones.
pub(crate) fn metadata(bits: usize, selector: usize, chunks: &[Vec<u32>]) -> [u64; 32] {
    let lanes = 16 * chunks[0].len() * 4 / 32 / 8;
    let mut registers = [u64::from(u32::MAX); 32];
    for group in 0..8 {
        for part in 0..lanes {
            let nibbles = |row: usize, range: std::ops::Range<usize>| {
                chunks[row][range].iter().enumerate().fold(0, |word, (i, chunk)| word | chunk << (4 * i))
            };
            let word = if bits >= 16 {
                let range = 4 * part..4 * part + 4;
                nibbles(group, range.clone()) | nibbles(group + 8, range) << 16
            } else {
                let range = part / 2 * 8..part / 2 * 8 + 8;
                nibbles(group + part % 2 * 8, range)
            };
            registers[4 * group + selector * lanes + part] = word.into();
        }
    }
    registers
}
