//! From figures to alerts and notifications.

pub mod alert;

pub mod thresholds;

pub mod policy;

pub mod notification;

pub mod silence;

pub mod measure;

pub mod notices;

pub mod evaluate;

pub mod resend;

pub mod scope;

pub mod decision;
