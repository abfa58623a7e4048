//! Events in the words of the reference decoder's listing.
use super::captures::Capture;
use rept_trace::Trace;
pub fn check(_c: &Capture, _t: &Trace) {}
