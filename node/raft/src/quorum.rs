//! Majority arithmetic over one or two sets of voters. Owns no policy: it knows neither configurations nor the meaning
//! of the values that it counts.

pub(crate) mod joint;
pub(crate) mod majority;
