-- A job's place in line is drawn from this sequence. To draw one for each job was a twentieth of an insert, so now a draw
-- gives 1,024 places in a row (src/jobs/insert.ts). Places that were drawn before stay valid, and lower than new ones;
-- a process of the version before draws one place at a time, as it did, and leaves the rest unused.
alter sequence millrace.job_place increment by 1024;
