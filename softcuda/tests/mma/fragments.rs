//! Matrices to fragments and back, written down from the PTX ISA's figures.

use softcuda::exec::value::Lanes;

/// a[row][k], b[k][column] of m16n8k16, 16-bit operands.
pub(crate) struct Matrices {
    pub(crate) a: [[u16; 16]; 16],
    pub(crate) b: [[u16; 8]; 16],
    pub(crate) c: [[u32; 8]; 16],
}

fn pair(low: u16, high: u16) -> u32 {
    u32::from(low) | u32::from(high) << 16
}

impl Matrices {
    pub(crate) fn fragments(&self) -> ([Lanes; 4], [Lanes; 2]) {
        let (mut a, mut b) = ([Lanes::ZERO; 4], [Lanes::ZERO; 2]);
        for lane in 0..32 {
            let (group, place) = (lane / 4, lane % 4);
            for (register, lanes) in a.iter_mut().enumerate() {
                let row = &self.a[group + register % 2 * 8];
                let k = place * 2 + register / 2 * 8;
                lanes.0[lane] = pair(row[k], row[k + 1]);
            }
            for (register, lanes) in b.iter_mut().enumerate() {
                let k = place * 2 + register * 8;
                lanes.0[lane] = pair(self.b[k][group], self.b[k + 1][group]);
            }
        }
        (a, b)
    }

    /// The accumulator fragment of c; in `f16`, c holds f16 bits.
    pub(crate) fn c_f32(&self) -> [Lanes; 4] {
        let mut c = [Lanes::ZERO; 4];
        for lane in 0..32 {
            for (register, lanes) in c.iter_mut().enumerate() {
                lanes.0[lane] = self.c[lane / 4 + register / 2 * 8][lane % 4 * 2 + register % 2];
            }
        }
        c
    }

    pub(crate) fn c_f16(&self) -> [Lanes; 2] {
        let mut c = [Lanes::ZERO; 2];
        for lane in 0..32 {
            for (register, lanes) in c.iter_mut().enumerate() {
                let row = &self.c[lane / 4 + register * 8];
                lanes.0[lane] = pair(row[lane % 4 * 2] as u16, row[lane % 4 * 2 + 1] as u16);
            }
        }
        c
    }
}

pub(crate) fn d_f32(d: &[Lanes; 4]) -> [[u32; 8]; 16] {
    let mut out = [[0; 8]; 16];
    for lane in 0..32 {
        for (register, lanes) in d.iter().enumerate() {
            out[lane / 4 + register / 2 * 8][lane % 4 * 2 + register % 2] = lanes.0[lane];
        }
    }
    out
}

pub(crate) fn d_f16(d: &[Lanes; 2]) -> [[u32; 8]; 16] {
    let mut out = [[0; 8]; 16];
    for lane in 0..32 {
        for (register, lanes) in d.iter().enumerate() {
            out[lane / 4 + register * 8][lane % 4 * 2] = lanes.0[lane] & 0xffff;
            out[lane / 4 + register * 8][lane % 4 * 2 + 1] = lanes.0[lane] >> 16;
        }
    }
    out
}
