//! What primary and follower decide, as pure steps: an input in, what is to be done out. No I/O, no clock, no threads.
//!
//! So every order of events can be tried, which the simulation in `tests/simulation` does by the thousand, and every case can
//! be written down as a script, as in `tests/scenarios`. The driver in this crate carries the outputs out; a program that has
//! its own network may do the same with its own.
//!
//! ```text
//!   Hello ─────────────────────► meet: continues, forks, apart
//!                                 │
//!   Grant ◄── asks ───────────────┤            (a majority's grants: BeginTerm)
//!   Cut / Resync / Append ◄───────┘ course
//!   Durable ───────────────────► held ──► majority
//! ```

pub mod concern;
pub mod follower;
pub mod history;
pub mod message;
pub mod primary;

pub use concern::{WriteConcern, majority_of};
pub use follower::{Follower, FollowerInput, FollowerOutput, Retry};
pub use history::{Apart, History, Meeting, Position, TERMS_MAX, TermStart};
pub use message::{
    Course, Hello, LISTED_MAX, LogName, Mark, MemberList, MemberNumber, Refusal, Report, Run, Status, Welcome,
    number_of,
};
pub use primary::{PeerId, Primary, PrimaryInput, PrimaryOutput};
