//! Spelling and width of the special registers.

use super::ast::Special;

/// Special registers without a component.
const SCALARS: &[(&str, Special)] = &[
    ("%laneid", Special::LaneId),
    ("%warpid", Special::WarpId),
    ("%nwarpid", Special::NwarpId),
    ("%smid", Special::SmId),
    ("%nsmid", Special::NsmId),
    ("%gridid", Special::GridId),
    ("%lanemask_eq", Special::LanemaskEq),
    ("%lanemask_le", Special::LanemaskLe),
    ("%lanemask_lt", Special::LanemaskLt),
    ("%lanemask_ge", Special::LanemaskGe),
    ("%lanemask_gt", Special::LanemaskGt),
    ("%clock", Special::Clock),
    ("%clock64", Special::Clock64),
    ("%globaltimer", Special::GlobalTimer),
    ("%dynamic_smem_size", Special::DynamicSmemSize),
    ("%total_smem_size", Special::TotalSmemSize),
];

/// Special registers with components x, y, z.
const VECTORS: &[&str] = &["%tid", "%ntid", "%ctaid", "%nctaid"];

impl Special {
    /// Special register spelt `name`, with the component (`x`) that follows it in the text.
    pub fn from_name(name: &str, component: Option<&str>) -> Option<Special> {
        let Some(component) = component else {
            return SCALARS.iter().find(|(text, _)| *text == name).map(|(_, special)| *special);
        };
        let dimension = match component {
            "x" => 0,
            "y" => 1,
            "z" => 2,
            _ => return None,
        };
        Some(match name {
            "%tid" => Special::Tid(dimension),
            "%ntid" => Special::Ntid(dimension),
            "%ctaid" => Special::Ctaid(dimension),
            "%nctaid" => Special::Nctaid(dimension),
            _ => return None,
        })
    }

    /// Whether `name` is a special register with components.
    pub fn has_components(name: &str) -> bool {
        VECTORS.contains(&name)
    }

    /// Its spelling, component included.
    pub fn name(self) -> String {
        let (vector, dimension) = match self {
            Special::Tid(d) => ("%tid", d),
            Special::Ntid(d) => ("%ntid", d),
            Special::Ctaid(d) => ("%ctaid", d),
            Special::Nctaid(d) => ("%nctaid", d),
            scalar => {
                let entry = SCALARS.iter().find(|(_, special)| *special == scalar);
                return entry.map_or(String::new(), |(text, _)| (*text).to_string());
            }
        };
        format!("{vector}.{}", ["x", "y", "z"][usize::from(dimension.min(2))])
    }

    /// Its width in bits.
    pub fn bits(self) -> u32 {
        match self {
            Special::GridId | Special::Clock64 | Special::GlobalTimer => 64,
            _ => 32,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_special_register_has_a_spelling_that_names_it() {
        for (name, special) in SCALARS {
            assert_eq!(special.name(), *name);
            assert_eq!(Special::from_name(name, None), Some(*special));
        }
        for vector in VECTORS {
            for component in ["x", "y", "z"] {
                let special = Special::from_name(vector, Some(component)).unwrap();
                assert_eq!(special.name(), format!("{vector}.{component}"));
            }
        }
    }
}
