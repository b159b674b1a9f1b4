//! Events: when they were recorded, in virtual time, or in which capture.

use crate::boundary::Out;
use crate::driver::{Driver, driver};
use crate::error::{Code, Result};
use crate::handles::Handle;
use crate::stream::Capturing;

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
#[derive(Debug, Clone)]
pub enum Recorded {
    /// Then, when all before had been done, in nanoseconds.
    At(u64),
    /// In a capture, behind these nodes.
    Captured(Capturing),
}

impl Driver {
    fn record(&mut self, event: Handle, given: Handle) -> Result<()> {
        let (current, stream) = self.stream(given)?;
        if self.events.context(event)? != current.context {
            return Err(Code::InvalidHandle.because("event and stream are of different contexts"));
        }
        self.check_no_implicit_capture(current.context, stream)?;
        let recorded = match self.capturing(stream).cloned() {
            Some(capturing) => Recorded::Captured(capturing),
            None => Recorded::At(self.clocks.end(current.context, stream)),
        };
        self.events.get_mut(event)?.recorded = Some(recorded);
        Ok(())
    }

    /// The host waits for an event.
    fn synchronize_event(&mut self, event: Handle) -> Result<()> {
        self.check_event(event)?;
        if let Some(Recorded::At(time)) = self.events.get(event)?.recorded {
            self.clocks.wait(time);
        }
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
    fn time(&self, event: Handle) -> Result<u64> {
        self.check_event(event)?;
        match self.events.get(event)? {
            Event { is_timed: true, recorded: Some(Recorded::At(time)) } => Ok(*time),
            _ => Err(Code::InvalidHandle.because("an event without a time")),
        }
    }

    /// Milliseconds from one event to another; fewer than none if it is the earlier one.
    fn elapsed(&self, start: Handle, end: Handle) -> Result<f32> {
        self.current()?;
        let (start, end) = (self.time(start)?, self.time(end)?);
        Ok(((end as f64 - start as f64) / 1e6) as f32)
    }
}

driver_functions! {
    fn cuEventCreate[2000](event: Out<Handle>, flags: u32) {
        let mut driver = driver()?;
        let context = driver.current()?.context;
        if flags > FLAGS {
            return Err(Code::InvalidValue.into());
        }
        event.set(driver.events.insert(context, Event { is_timed: flags & DISABLE_TIMING == 0, recorded: None }));
        Ok(())
    }

    fn cuEventDestroy_v2[4000](event: Handle) {
        driver()?.events.remove(event).map(drop)
    }

    fn cuEventRecord[2000 _ptsz](event: Handle, stream: Handle) {
        driver()?.record(event, stream)
    }

    fn cuEventRecordWithFlags[11010 _ptsz](event: Handle, stream: Handle, _flags: u32) {
        driver()?.record(event, stream)
    }

    fn cuEventQuery[2000](event: Handle) {
        driver()?.check_event(event)
    }

    fn cuEventSynchronize[2000](event: Handle) {
        driver()?.synchronize_event(event)
    }

    /// In virtual time: positive, larger for more work, the same in every run, no estimate of a chip.
    fn cuEventElapsedTime[2000](milliseconds: Out<f32>, start: Handle, end: Handle) {
        milliseconds.set(driver()?.elapsed(start, end)?);
        Ok(())
    }

    /// As the first version.
    fn cuEventElapsedTime_v2[12080](milliseconds: Out<f32>, start: Handle, end: Handle) {
        milliseconds.set(driver()?.elapsed(start, end)?);
        Ok(())
    }
}
