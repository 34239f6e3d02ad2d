-- What a job carries beside its args is JSON that only we write: as text it is not parsed again with every insert.
alter table millrace.job alter column meta type text;
alter table millrace.job_history alter column meta type text;
