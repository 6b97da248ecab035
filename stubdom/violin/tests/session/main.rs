//! Sessions between switches, seen from outside: two of them and a network that does what it likes.

mod attacks;
mod faults;
mod lifetime;
mod net;
mod points;
