//! Clusters that change while they run: nodes that come, go, are replaced and removed, and pairs
//! of which one goes on alone.

mod growth;
mod pair;
mod world;
