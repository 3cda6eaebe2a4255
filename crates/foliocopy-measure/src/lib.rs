//! The parts that all measurements of foliocopy share: the environment, the statistics, and the result schema of the bench,
//! the kernel's bench, `compare` and `report`.

pub mod activity;
pub mod affinity;
pub mod bench;
mod cgroup;
pub mod choice;
pub mod compare;
pub mod contender;
pub mod environment;
pub mod eviction;
pub mod gate;
pub mod input;
pub mod kernel;
pub mod kit;
pub mod latency;
pub mod memory;
pub mod migrate;
pub mod result;
pub mod roofline;
pub mod run_all;
pub mod size;
pub mod statistics;
pub mod survey;
pub mod text;
pub mod topology;
pub mod tune;
mod turns;
pub mod unpaired;
pub mod verdict;
pub mod warning;
