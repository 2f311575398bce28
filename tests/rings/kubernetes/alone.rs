//! Tests that have the dev cluster to themselves, because they measure time, or change the shared release, the object
//! store, a node or a definition. They are in a module of their own because the test harness runs tests in the order of
//! their names: if they were spread among the other tests, those would have to end before each of them.

mod lost_node;
mod object_store;
mod operator;
mod releases;
mod scale;
mod unreadable;
