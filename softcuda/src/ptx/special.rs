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
    ("%aggr_smem_size", Special::AggrSmemSize),
    ("%clock_hi", Special::ClockHi),
    ("%globaltimer_lo", Special::GlobalTimerLo),
    ("%globaltimer_hi", Special::GlobalTimerHi),
    ("%cluster_ctarank", Special::ClusterCtarank),
    ("%cluster_nctarank", Special::ClusterNctarank),
    ("%is_explicit_cluster", Special::IsExplicitCluster),
    ("%current_graph_exec", Special::CurrentGraphExec),
];

/// A register of a family, by its number or dimension.
type Make = fn(u8) -> Special;

/// Prefix, suffix and count of the registers with a number.
const NUMBERED: &[(&str, &str, u8, Make)] =
    &[("%envreg", "", 32, Special::Envreg), ("%pm", "_64", 8, Special::Pm64), ("%pm", "", 8, Special::Pm)];

/// Special registers with components x, y, z.
const VECTORS: &[(&str, Make)] = &[
    ("%tid", Special::Tid),
    ("%ntid", Special::Ntid),
    ("%ctaid", Special::Ctaid),
    ("%nctaid", Special::Nctaid),
    ("%cluster_ctaid", Special::ClusterCtaid),
    ("%cluster_nctaid", Special::ClusterNctaid),
    ("%clusterid", Special::ClusterId),
    ("%nclusterid", Special::NclusterId),
];

impl Special {
    /// Special register spelt `name`, with the component (`x`) that follows it in the text.
    pub fn from_name(name: &str, component: Option<&str>) -> Option<Special> {
        let Some(component) = component else {
            let scalar = SCALARS.iter().find(|(text, _)| *text == name).map(|(_, special)| *special);
            return scalar.or_else(|| numbered(name));
        };
        let dimension = ["x", "y", "z"].iter().position(|known| *known == component)?;
        let (_, make) = VECTORS.iter().find(|(text, _)| *text == name)?;
        Some(make(dimension as u8))
    }

    /// Whether `name` is a special register with components.
    pub fn has_components(name: &str) -> bool {
        VECTORS.iter().any(|(text, _)| *text == name)
    }

    /// Its spelling, component included.
    pub fn name(self) -> String {
        if let Some((text, _)) = SCALARS.iter().find(|(_, special)| *special == self) {
            return (*text).to_string();
        }
        for (text, make) in VECTORS {
            if let Some(dimension) = (0..3).find(|&dimension| make(dimension) == self) {
                return format!("{text}.{}", ["x", "y", "z"][usize::from(dimension)]);
            }
        }
        for (prefix, suffix, count, make) in NUMBERED {
            if let Some(number) = (0..*count).find(|&number| make(number) == self) {
                return format!("{prefix}{number}{suffix}");
            }
        }
        String::new()
    }

    /// Its width in bits.
    pub fn bits(self) -> u32 {
        match self {
            Special::GridId
            | Special::Clock64
            | Special::GlobalTimer
            | Special::Pm64(_)
            | Special::CurrentGraphExec => 64,
            Special::IsExplicitCluster => 1,
            _ => 32,
        }
    }
}

/// `%envreg3`, `%pm2_64`.
fn numbered(name: &str) -> Option<Special> {
    NUMBERED.iter().find_map(|(prefix, suffix, count, make)| {
        let digits = name.strip_prefix(prefix)?.strip_suffix(suffix)?;
        let number: u8 = digits.parse().ok()?;
        (number < *count && digits == number.to_string()).then(|| make(number))
    })
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
        for (vector, _) in VECTORS {
            for component in ["x", "y", "z"] {
                let special = Special::from_name(vector, Some(component)).unwrap();
                assert_eq!(special.name(), format!("{vector}.{component}"));
            }
        }
        for name in ["%envreg0", "%envreg31", "%pm7", "%pm0_64"] {
            assert_eq!(Special::from_name(name, None).map(Special::name).as_deref(), Some(name));
        }
        for name in ["%envreg32", "%pm8", "%pm07", "%pm1_32", "%tid"] {
            assert_eq!(Special::from_name(name, None), None);
        }
    }
}
