"""What people type after `dsas`, one command a file; demo, sweeps and Orchard keep theirs beside what they run."""
