//! How many are enough. Owns the arithmetic of majorities, in one electorate and in two; knows nothing of what is counted.

pub(crate) mod joint;
pub(crate) mod majority;
