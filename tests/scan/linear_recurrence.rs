//! `scan::linear_recurrence`.

mod agrees;
