//! Majority arithmetic over one set of voters or two. Owns no policy: it knows neither configurations nor what is
//! counted.

pub(crate) mod joint;
pub(crate) mod majority;
