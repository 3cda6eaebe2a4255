//! Which CPUs a thread may run on.

use std::io;

/// One word of a set of CPUs, as sched_setaffinity(2) takes them.
type Word = libc::c_ulong;

const BITS: usize = Word::BITS as usize;

/// Words of the smallest set: what `cpu_set_t` has, for 1024 CPUs.
const FEWEST: usize = 1024 / BITS;

/// Words of the largest set. No kernel can be built for so many CPUs.
const MOST: usize = (1 << 22) / BITS;

/// The CPUs that this thread may run on, ascending.
pub fn allowed_cpus() -> io::Result<Vec<u32>> {
    let set = allowed_set()?;
    let is_set = |cpu: &usize| set[cpu / BITS] >> (cpu % BITS) & 1 == 1;
    Ok((0..set.len() * BITS).filter(is_set).map(|cpu| cpu as u32).collect())
}

/// Kernels for more CPUs than a set has bits answer EINVAL, so it grows.
fn allowed_set() -> io::Result<Vec<Word>> {
    let mut words = FEWEST;
    loop {
        let mut set = vec![0 as Word; words];
        // SAFETY: writes at most the size that it is given, which is the set's.
        if unsafe { libc::sched_getaffinity(0, words * size_of::<Word>(), set.as_mut_ptr().cast()) } == 0 {
            return Ok(set);
        }
        let error = io::Error::last_os_error();
        if error.raw_os_error() != Some(libc::EINVAL) || words >= MOST {
            return Err(error);
        }
        words *= 2;
    }
}

/// Keeps this thread on `cpu`.
pub fn pin(cpu: u32) -> io::Result<()> {
    let cpu = cpu as usize;
    if cpu >= MOST * BITS {
        return Err(io::Error::from_raw_os_error(libc::EINVAL));
    }
    let mut set = vec![0 as Word; FEWEST.max(cpu / BITS + 1)];
    set[cpu / BITS] = 1 << (cpu % BITS);
    // SAFETY: reads the size that it is given, which is the set's.
    if unsafe { libc::sched_setaffinity(0, set.len() * size_of::<Word>(), set.as_ptr().cast()) } != 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pinned_thread_stays() {
        std::thread::spawn(|| {
            let last = *allowed_cpus().unwrap().last().unwrap();
            pin(last).unwrap();
            assert_eq!(allowed_cpus().unwrap(), [last]);
        })
        .join()
        .unwrap();
    }

    #[test]
    fn a_cpu_that_is_not_there_is_refused() {
        assert!(pin(1023).is_err());
        assert!(pin(5000).is_err());
        assert!(pin(u32::MAX).is_err());
    }
}
