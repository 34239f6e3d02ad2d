-- Dead letters of a record, whatever handler they are of, for the timeline. The index that keeps them apart begins with
-- application and handler, so that a look-up by place needs a skip scan, which servers before 18 do not have. Only dead letters
-- of records pay for these.
create index dead_letter_place on millrace.dead_letter (topic_id, partition, "offset") where job_id is null;

-- A record that another program had set aside says where it had been: a topic by its name only. It is found by where it was
-- taken from. As texts, for to cast could fail, and an index that does would keep a batch from being committed.
create index dead_letter_taken_from on millrace.dead_letter
  ((trace->'takenFrom'->>'topicId'), (trace->'takenFrom'->>'partition'), (trace->'takenFrom'->>'offset'))
  where job_id is null and topic_id is null;
