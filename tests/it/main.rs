//! The program from outside: real HTTP, a real store, a clock that is moved by hand.

mod harness;

mod cycle;
