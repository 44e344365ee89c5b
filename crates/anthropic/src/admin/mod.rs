//! Changes: their requests, the responses, and whether they took effect.

pub mod result;

pub mod request;

pub mod guide;

pub mod real;

pub mod write;
