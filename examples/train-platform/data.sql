-- Rows for schema.sql, the same ones on each run, to be loaded once into empty tables.
--
--   psql -v ON_ERROR_STOP=1 -v conversations=20000 -f data.sql
--
-- User n is md5('user n')::uuid and conversation n is md5('conversation n')::uuid, so that a workload can
-- name them without looking. About four turns and one generation log for each conversation.

\if :{?conversations}
\else
\set conversations 20000
\endif

BEGIN;
SELECT setseed(0.42) \g /dev/null

INSERT INTO user_profiles (id) SELECT md5('user ' || n)::uuid FROM generate_series(1, 50) AS n;
INSERT INTO documents (id) SELECT md5('document ' || n)::uuid FROM generate_series(1, 200) AS n;
INSERT INTO chunks (id) SELECT md5('chunk ' || n)::uuid FROM generate_series(1, 2000) AS n;

-- What the texts are made of: pg_temp.pick gives an element of a list by a number from 0 to 1.
CREATE FUNCTION pg_temp.pick(choices text[], at double precision) RETURNS text LANGUAGE sql IMMUTABLE AS $$
  SELECT choices[1 + floor(at * cardinality(choices))::integer]
$$;

-- One to six sentences and a sum of money, by a seed.
CREATE FUNCTION pg_temp.sentences(number integer, seed bigint) RETURNS text LANGUAGE sql STABLE AS $$
  SELECT array_to_string((ARRAY[
    'I have been putting this off for years and now it keeps me awake at night.',
    'Could you walk me through the options once more, slowly, without the jargon?',
    'That sounds hard, and it makes sense that you want to be careful with it.',
    'Let us first write down what you have, what you owe, and what you need each month.',
    'My sister thinks that we should sell the house before the winter comes.',
    'There is no hurry: nothing about this has to be decided today.',
    'If the market falls by a third, would you still sleep, or would you sell?',
    'What would a good outcome look like for you in five years?',
    'My father never spoke about money, and I never asked him.',
    'The fees are small, but over thirty years they eat a fifth of it.',
    'I would rather pay the debt first, even if that is not the best plan on paper.',
    'You can start with a little and raise it each spring.'
  ])[1 + seed % 6 : seed % 6 + number], ' ') || ' That leaves ' || 100 + seed % 9000 || ' a month.'
$$;

INSERT INTO conversation_templates (template_name, category, tier, template_text, structure, variables, tone,
  complexity_baseline, applicable_personas, applicable_emotions, applicable_topics, usage_count, rating,
  success_rate, is_active, created_by)
SELECT 'Template ' || n,
       pg_temp.pick('{planning,family,investing,debt,housing}', random()),
       pg_temp.pick('{template,scenario,edge_case}', random()),
       'A {{persona}} feels {{emotion}} about {{topic}}. ' || pg_temp.sentences(3, n),
       'opening, question, explanation, next step',
       jsonb_build_object('persona', jsonb_build_object('required', true), 'variant', n),
       pg_temp.pick('{warm,patient,calm,direct}', random()),
       1 + floor(random() * 10),
       ARRAY[pg_temp.pick('{anxious planner,grieving heir,overwhelmed parent}', random())],
       ARRAY[pg_temp.pick('{anxious,hopeful,sad,angry,afraid}', random())],
       ARRAY[pg_temp.pick('{retirement,inheritance,markets,debt,housing}', random())],
       floor(random() * 500), round((random() * 5)::numeric, 1), round((random() * 100)::numeric, 2),
       random() < 0.9,
       md5('user ' || 1 + n % 50)::uuid
FROM generate_series(1, 97) AS n;

INSERT INTO batch_jobs (id, job_type, name, status, total_items, completed_items, failed_items, results,
  started_at, completed_at, created_at, created_by)
SELECT md5('batch ' || n)::uuid,
       pg_temp.pick('{generation,generation,export,validation,cleanup}', random()),
       'Batch ' || n, CASE WHEN n % 20 = 0 THEN 'failed' ELSE 'completed' END,
       100, 95, 5, jsonb_build_object('failed', 5), started, started + interval '12 minutes', started,
       md5('user ' || 1 + n % 50)::uuid
FROM (SELECT n, now() - n * interval '12 hours' AS started FROM generate_series(1, 100) AS n) AS batch;

INSERT INTO conversations (id, conversation_id, document_id, chunk_id, template_id, batch_job_id, title,
  description, persona, emotion, topic, intent, tone, model, tier, status, category, quality_score,
  quality_metrics, confidence_level, turn_count, total_tokens, estimated_cost_usd, actual_cost_usd,
  generation_duration_ms, approved_by, approved_at, reviewer_notes, parameters, review_history, retry_count,
  created_at, updated_at, created_by)
SELECT md5('conversation ' || n)::uuid, 'TRAIN-' || lpad(n::text, 7, '0'),
       md5('document ' || 1 + n % 200)::uuid, md5('chunk ' || 1 + n % 2000)::uuid,
       template.ids[1 + n % cardinality(template.ids)], md5('batch ' || 1 + n % 100)::uuid,
       initcap(emotion) || ' ' || persona || ' asks about ' || topic || ', number ' || n,
       pg_temp.sentences(2, n), persona, emotion, topic, intent,
       pg_temp.pick('{warm,patient,calm,direct}', r1),
       pg_temp.pick('{large,large,medium,small}', r2),
       pg_temp.pick('{template,template,template,scenario,scenario,edge_case}', r3),
       status, ARRAY[topic, pg_temp.pick('{beginner,advanced,family,solo}', r4)],
       quality_score,
       jsonb_build_object('overall', quality_score, 'relevance', round((r1 * 10)::numeric, 1),
         'empathy', round((r2 * 10)::numeric, 1), 'accuracy', round((r3 * 10)::numeric, 1)),
       CASE WHEN quality_score >= 8 THEN 'high' WHEN quality_score >= 6 THEN 'medium' ELSE 'low' END,
       2 + n % 5, 400 + floor(r1 * 2000), round((0.02 + r1 * 0.1)::numeric, 4),
       round((0.02 + r2 * 0.1)::numeric, 4), 1500 + floor(r3 * 30000),
       CASE WHEN status = 'approved' THEN md5('user ' || 1 + n % 7)::uuid END,
       CASE WHEN status = 'approved' THEN created_at + interval '1 day' END,
       CASE WHEN status IN ('approved', 'rejected') THEN pg_temp.sentences(1, n + 1) END,
       jsonb_build_object('temperature', round(r2::numeric, 2), 'seed', n,
         'scenario', pg_temp.sentences(2, n + 2), 'max_turns', 2 + n % 5),
       CASE WHEN status = 'approved' THEN jsonb_build_array(jsonb_build_object('action', 'approved',
         'at', created_at + interval '1 day')) ELSE '[]' END,
       n % 3, created_at, created_at, md5('user ' || 1 + n % 50)::uuid
FROM (SELECT n, random() AS r1, random() AS r2, random() AS r3, random() AS r4,
             pg_temp.pick('{anxious planner,grieving heir,overwhelmed parent,impulsive investor}', random())
               AS persona,
             pg_temp.pick('{anxious,hopeful,sad,angry,afraid}', random()) AS emotion,
             pg_temp.pick('{retirement,inheritance,markets,debt,housing,savings}', random()) AS topic,
             pg_temp.pick('{understand,decide,vent,plan}', random()) AS intent,
             pg_temp.pick('{draft,generated,pending_review,pending_review,approved,approved,approved,rejected,
                            needs_revision,archived}', random()) AS status,
             round((4 + random() * 6)::numeric, 1) AS quality_score,
             date_trunc('minute', now()) - random() * interval '180 days' AS created_at
      FROM generate_series(1, :conversations) AS n) AS made,
     (SELECT array_agg(id ORDER BY template_name) AS ids FROM conversation_templates) AS template;

INSERT INTO conversation_turns (conversation_id, turn_number, role, content, token_count, created_at)
SELECT c.id, turn, CASE WHEN turn % 2 = 1 THEN 'user' ELSE 'assistant' END,
       pg_temp.sentences(2 + turn % 3, c.n + turn), 40 + turn * 10,
       c.created_at + turn * interval '1 second'
FROM (SELECT *, right(conversation_id, 7)::bigint AS n FROM conversations) AS c,
     generate_series(1, c.turn_count) AS turn;

INSERT INTO scenarios (parent_template_id, name, context, persona, emotional_arc, parameter_values, status,
  created_by)
SELECT id, template_name || ', scenario ' || n, pg_temp.sentences(3, n),
       pg_temp.pick('{anxious planner,grieving heir,overwhelmed parent}', random()),
       pg_temp.pick('{afraid to calm,angry to hopeful,sad to accepting}', random()),
       jsonb_build_object('amount', n * 1000, 'years', n), 'active', created_by
FROM conversation_templates, generate_series(1, 5) AS n;

INSERT INTO edge_cases (parent_template_id, name, trigger_condition, expected_behavior, risk_level,
  validation_criteria, tested, created_by)
SELECT id, template_name || ', edge case ' || n, pg_temp.sentences(1, n),
       pg_temp.sentences(2, n), pg_temp.pick('{low,medium,high,critical}', random()),
       '{stays calm,gives no advice on single funds}', random() < 0.7, created_by
FROM conversation_templates, generate_series(1, 3) AS n;

INSERT INTO generation_logs (conversation_id, template_id, request_payload, response_payload, input_tokens,
  output_tokens, cost_usd, duration_ms, error_message, error_code, created_at, created_by)
SELECT c.id, c.template_id,
       jsonb_build_object('model', c.model,
         'prompt', pg_temp.sentences(6, c.n) || ' ' || pg_temp.sentences(6, c.n + 3), 'options', c.parameters, 'request_id', md5('request ' || c.conversation_id)),
       jsonb_build_object('stop_reason', CASE WHEN random() < 0.97 THEN 'end' ELSE 'length' END,
         'text', pg_temp.sentences(6, c.n + 1) || ' ' || pg_temp.sentences(6, c.n + 4)),
       200, c.total_tokens, c.actual_cost_usd, c.generation_duration_ms,
       CASE WHEN c.retry_count = 2 THEN 'upstream timeout' END,
       CASE WHEN c.retry_count = 2 THEN '504' END, c.created_at, c.created_by
FROM (SELECT *, right(conversation_id, 7)::bigint AS n FROM conversations) AS c;

INSERT INTO export_logs (user_id, conversation_ids, conversation_count, format, file_name, file_size_bytes,
  created_at)
SELECT md5('user ' || 1 + n % 50)::uuid,
       ARRAY(SELECT md5('conversation ' || i)::uuid FROM generate_series(n, n + 9) AS i), 10,
       pg_temp.pick('{json,jsonl,csv,markdown}', random()), 'export-' || n, 20000 + n,
       now() - n * interval '2 hours'
FROM generate_series(1, 300) AS n;

COMMIT;

ANALYZE user_profiles, documents, chunks, conversation_templates, batch_jobs, conversations,
  conversation_turns, scenarios, edge_cases, generation_logs, export_logs;
