//! A gate at which a recovery waits, by what it says of its progress.

use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Door {
    #[default]
    Shut,
    Open,
    Broken,
}

/// Shut at first; clones are the same gate.
#[derive(Clone, Default)]
pub(crate) struct Gate(Arc<(Mutex<Door>, Condvar)>);

impl Gate {
    fn door(&self) -> MutexGuard<'_, Door> {
        self.0.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits until it is open.
    pub(crate) fn pass(&self) {
        let is_shut = |door: &mut Door| *door == Door::Shut;
        let door = self.0.1.wait_while(self.door(), is_shut);
        let door = *door.unwrap_or_else(PoisonError::into_inner);
        assert!(door != Door::Broken, "the gate fell on somebody");
    }

    fn set(&self, door: Door) {
        *self.door() = door;
        self.0.1.notify_all();
    }

    pub(crate) fn open(&self) {
        self.set(Door::Open);
    }
}

/// Not every test file does this.
#[allow(dead_code, reason = "each test file uses a part")]
impl Gate {
    /// Whoever passes from now on panics.
    pub(crate) fn break_down(&self) {
        self.set(Door::Broken);
    }

    /// Opens it when this is dropped, so that a test that fails does not wait for ever.
    pub(crate) fn opens_at_last(&self) -> impl Drop {
        Opener(self.clone())
    }
}

struct Opener(Gate);

impl Drop for Opener {
    fn drop(&mut self) {
        self.0.open();
    }
}
