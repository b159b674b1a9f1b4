//! Events: when they were recorded, or in which capture.

use crate::boundary::Out;
use crate::driver::{Driver, driver};
use crate::error::{Code, Result};
use crate::handles::Handle;
use std::time::Instant;

/// `CU_EVENT_DISABLE_TIMING`.
const DISABLE_TIMING: u32 = 2;
/// All flags: blocking, without time, for other processes.
const FLAGS: u32 = 7;

/// An event.
#[derive(Debug)]
pub struct Event {
    is_timed: bool,
    pub recorded: Option<Recorded>,
}

/// The last time that an event was recorded.
#[derive(Debug, Clone, Copy)]
pub enum Recorded {
    /// Then, when all before had been done.
    At(Instant),
    /// In a capture.
    Captured(Handle),
}

impl Driver {
    fn record(&mut self, event: Handle, stream: Handle) -> Result<()> {
        let capture = self.capture_of(stream)?;
        let context = self.current()?.context;
        if self.events.context(event)? != context {
            return Err(Code::InvalidHandle.because("event and stream are of different contexts"));
        }
        let recorded = capture.map_or_else(|| Recorded::At(Instant::now()), Recorded::Captured);
        self.events.get_mut(event)?.recorded = Some(recorded);
        Ok(())
    }

    /// That an event may be asked about.
    fn check_event(&self, event: Handle) -> Result<()> {
        self.current()?;
        match self.events.get(event)?.recorded {
            Some(Recorded::Captured(_)) => Err(Code::CapturedEvent.into()),
            Some(Recorded::At(_)) | None => Ok(()),
        }
    }

    /// When an event was recorded, if it says so.
    fn time(&self, event: Handle) -> Result<Instant> {
        self.check_event(event)?;
        match self.events.get(event)? {
            Event { is_timed: true, recorded: Some(Recorded::At(instant)) } => Ok(*instant),
            _ => Err(Code::InvalidHandle.because("an event without a time")),
        }
    }

    /// Milliseconds from one event to another; fewer than none if it is the earlier one.
    fn elapsed(&self, start: Handle, end: Handle) -> Result<f32> {
        self.current()?;
        let (start, end) = (self.time(start)?, self.time(end)?);
        let seconds = match end.checked_duration_since(start) {
            Some(time) => time.as_secs_f64(),
            None => -start.duration_since(end).as_secs_f64(),
        };
        Ok((seconds * 1e3) as f32)
    }
}

driver_functions! {
    fn cuEventCreate(event: Out<Handle>, flags: u32) {
        let mut driver = driver()?;
        let context = driver.current()?.context;
        if flags > FLAGS {
            return Err(Code::InvalidValue.into());
        }
        event.set(driver.events.insert(context, Event { is_timed: flags & DISABLE_TIMING == 0, recorded: None }));
        Ok(())
    }

    fn cuEventDestroy_v2(event: Handle) {
        driver()?.events.remove(event).map(drop)
    }

    fn cuEventRecord(event: Handle, stream: Handle) {
        driver()?.record(event, stream)
    }

    fn cuEventRecordWithFlags(event: Handle, stream: Handle, _flags: u32) {
        driver()?.record(event, stream)
    }

    fn cuEventQuery(event: Handle) {
        driver()?.check_event(event)
    }

    fn cuEventSynchronize(event: Handle) {
        driver()?.check_event(event)
    }

    fn cuEventElapsedTime(milliseconds: Out<f32>, start: Handle, end: Handle) {
        milliseconds.set(driver()?.elapsed(start, end)?);
        Ok(())
    }

    fn cuEventElapsedTime_v2(milliseconds: Out<f32>, start: Handle, end: Handle) {
        milliseconds.set(driver()?.elapsed(start, end)?);
        Ok(())
    }
}
