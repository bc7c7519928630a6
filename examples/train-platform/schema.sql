-- The data module of the Train platform: training conversations that are generated, reviewed and exported.
--
--   psql -v ON_ERROR_STOP=1 -f schema.sql        -- a second run changes nothing; rollback.sql takes it back
--
-- Everything goes to the first schema of the search path. A user is who the request says it is:
-- PostgREST's setting request.jwt.claims, as auth.uid() of Supabase reads it.

BEGIN;
SET LOCAL client_min_messages = warning;

-- Tables of other modules; made here only where the platform does not have them yet.

CREATE TABLE IF NOT EXISTS user_profiles (
  id uuid PRIMARY KEY
);

CREATE TABLE IF NOT EXISTS documents (
  id uuid PRIMARY KEY
);

CREATE TABLE IF NOT EXISTS chunks (
  id uuid PRIMARY KEY
);

-- The eight tables.

CREATE TABLE IF NOT EXISTS conversation_templates (
  id uuid PRIMARY KEY DEFAULT gen_random_uuid(),
  template_name text NOT NULL UNIQUE,
  description text,
  category text NOT NULL,
  tier text NOT NULL DEFAULT 'template' CHECK (tier IN ('template', 'scenario', 'edge_case')),
  template_text text NOT NULL,
  structure text,
  variables jsonb NOT NULL DEFAULT '{}',
  tone text,
  complexity_baseline integer CHECK (complexity_baseline BETWEEN 1 AND 10),
  applicable_personas text[] NOT NULL DEFAULT '{}',
  applicable_emotions text[] NOT NULL DEFAULT '{}',
  applicable_topics text[] NOT NULL DEFAULT '{}',
  usage_count integer NOT NULL DEFAULT 0 CHECK (usage_count >= 0),
  rating numeric(2,1) CHECK (rating BETWEEN 0 AND 5),
  success_rate numeric(5,2) CHECK (success_rate BETWEEN 0 AND 100),
  version integer NOT NULL DEFAULT 1,
  is_active boolean NOT NULL DEFAULT true,
  created_at timestamptz NOT NULL DEFAULT now(),
  updated_at timestamptz NOT NULL DEFAULT now(),
  created_by uuid REFERENCES user_profiles ON DELETE SET NULL,
  last_modified_by uuid REFERENCES user_profiles ON DELETE SET NULL
);

CREATE TABLE IF NOT EXISTS batch_jobs (
  id uuid PRIMARY KEY DEFAULT gen_random_uuid(),
  job_type text NOT NULL CHECK (job_type IN ('generation', 'export', 'validation', 'cleanup')),
  name text NOT NULL,
  status text NOT NULL DEFAULT 'queued'
    CHECK (status IN ('queued', 'processing', 'paused', 'completed', 'failed', 'cancelled')),
  total_items integer NOT NULL DEFAULT 0 CHECK (total_items >= 0),
  completed_items integer NOT NULL DEFAULT 0 CHECK (completed_items >= 0),
  failed_items integer NOT NULL DEFAULT 0 CHECK (failed_items >= 0),
  parameters jsonb NOT NULL DEFAULT '{}',
  results jsonb NOT NULL DEFAULT '{}',
  error_message text,
  started_at timestamptz,
  completed_at timestamptz,
  created_at timestamptz NOT NULL DEFAULT now(),
  updated_at timestamptz NOT NULL DEFAULT now(),
  created_by uuid REFERENCES user_profiles ON DELETE SET NULL,
  CHECK (completed_items + failed_items <= total_items)
);

CREATE TABLE IF NOT EXISTS conversations (
  id uuid PRIMARY KEY DEFAULT gen_random_uuid(),
  conversation_id text NOT NULL UNIQUE,
  document_id uuid REFERENCES documents ON DELETE SET NULL,
  chunk_id uuid REFERENCES chunks ON DELETE SET NULL,
  template_id uuid REFERENCES conversation_templates ON DELETE SET NULL,
  batch_job_id uuid REFERENCES batch_jobs ON DELETE SET NULL,
  title text NOT NULL,
  description text,
  persona text NOT NULL,
  emotion text NOT NULL,
  topic text,
  intent text,
  tone text,
  language text NOT NULL DEFAULT 'en',
  model text,
  tier text NOT NULL DEFAULT 'template' CHECK (tier IN ('template', 'scenario', 'edge_case')),
  status text NOT NULL DEFAULT 'draft' CHECK (status IN
    ('draft', 'generated', 'pending_review', 'approved', 'rejected', 'needs_revision', 'archived')),
  category text[] NOT NULL DEFAULT '{}',
  quality_score numeric(3,1) CHECK (quality_score BETWEEN 0 AND 10),
  quality_metrics jsonb NOT NULL DEFAULT '{}',
  confidence_level text CHECK (confidence_level IN ('high', 'medium', 'low')),
  turn_count integer NOT NULL DEFAULT 0 CHECK (turn_count >= 0),
  total_tokens integer NOT NULL DEFAULT 0 CHECK (total_tokens >= 0),
  estimated_cost_usd numeric(10,4),
  actual_cost_usd numeric(10,4),
  generation_duration_ms integer CHECK (generation_duration_ms >= 0),
  approved_by uuid REFERENCES user_profiles ON DELETE SET NULL,
  approved_at timestamptz,
  reviewer_notes text,
  parent_id uuid REFERENCES conversations ON DELETE SET NULL,
  parent_type text CHECK (parent_type IN ('template', 'scenario', 'conversation')),
  parameters jsonb NOT NULL DEFAULT '{}',
  review_history jsonb NOT NULL DEFAULT '[]',
  error_message text,
  retry_count integer NOT NULL DEFAULT 0 CHECK (retry_count >= 0),
  export_count integer NOT NULL DEFAULT 0 CHECK (export_count >= 0),
  last_exported_at timestamptz,
  created_at timestamptz NOT NULL DEFAULT now(),
  updated_at timestamptz NOT NULL DEFAULT now(),
  created_by uuid REFERENCES user_profiles ON DELETE SET NULL
);

CREATE TABLE IF NOT EXISTS conversation_turns (
  id uuid PRIMARY KEY DEFAULT gen_random_uuid(),
  conversation_id uuid NOT NULL REFERENCES conversations ON DELETE CASCADE,
  turn_number integer NOT NULL CHECK (turn_number > 0),
  role text NOT NULL CHECK (role IN ('user', 'assistant')),
  content text NOT NULL,
  token_count integer CHECK (token_count >= 0),
  char_count integer GENERATED ALWAYS AS (length(content)) STORED,
  created_at timestamptz NOT NULL DEFAULT now(),
  UNIQUE (conversation_id, turn_number)
);

CREATE TABLE IF NOT EXISTS scenarios (
  id uuid PRIMARY KEY DEFAULT gen_random_uuid(),
  parent_template_id uuid REFERENCES conversation_templates ON DELETE SET NULL,
  name text NOT NULL,
  context text NOT NULL,
  persona text,
  emotional_arc text,
  parameter_values jsonb NOT NULL DEFAULT '{}',
  status text NOT NULL DEFAULT 'draft' CHECK (status IN ('draft', 'active', 'archived')),
  created_at timestamptz NOT NULL DEFAULT now(),
  updated_at timestamptz NOT NULL DEFAULT now(),
  created_by uuid REFERENCES user_profiles ON DELETE SET NULL
);

CREATE TABLE IF NOT EXISTS edge_cases (
  id uuid PRIMARY KEY DEFAULT gen_random_uuid(),
  parent_template_id uuid REFERENCES conversation_templates ON DELETE SET NULL,
  name text NOT NULL,
  trigger_condition text NOT NULL,
  expected_behavior text NOT NULL,
  risk_level text NOT NULL DEFAULT 'medium' CHECK (risk_level IN ('low', 'medium', 'high', 'critical')),
  validation_criteria text[] NOT NULL DEFAULT '{}',
  tested boolean NOT NULL DEFAULT false,
  created_at timestamptz NOT NULL DEFAULT now(),
  updated_at timestamptz NOT NULL DEFAULT now(),
  created_by uuid REFERENCES user_profiles ON DELETE SET NULL
);

-- Both logs outlive what they speak of: no foreign key on conversation_ids, SET NULL elsewhere.
CREATE TABLE IF NOT EXISTS generation_logs (
  id uuid PRIMARY KEY DEFAULT gen_random_uuid(),
  conversation_id uuid REFERENCES conversations ON DELETE SET NULL,
  template_id uuid REFERENCES conversation_templates ON DELETE SET NULL,
  request_payload jsonb NOT NULL,
  response_payload jsonb,
  input_tokens integer CHECK (input_tokens >= 0),
  output_tokens integer CHECK (output_tokens >= 0),
  cost_usd numeric(10,4),
  duration_ms integer CHECK (duration_ms >= 0),
  error_message text,
  error_code text,
  created_at timestamptz NOT NULL DEFAULT now(),
  created_by uuid REFERENCES user_profiles ON DELETE SET NULL
);

CREATE TABLE IF NOT EXISTS export_logs (
  id uuid PRIMARY KEY DEFAULT gen_random_uuid(),
  user_id uuid REFERENCES user_profiles ON DELETE SET NULL,
  conversation_ids uuid[] NOT NULL DEFAULT '{}',
  conversation_count integer NOT NULL CHECK (conversation_count >= 0),
  format text NOT NULL CHECK (format IN ('json', 'jsonl', 'csv', 'markdown')),
  filters jsonb NOT NULL DEFAULT '{}',
  file_name text,
  file_size_bytes bigint CHECK (file_size_bytes >= 0),
  file_url text,
  expires_at timestamptz NOT NULL DEFAULT now() + interval '30 days',
  created_at timestamptz NOT NULL DEFAULT now()
);

-- Indexes, beside those of the primary keys and unique columns.

CREATE INDEX IF NOT EXISTS idx_conversations_status ON conversations (status);
CREATE INDEX IF NOT EXISTS idx_conversations_tier ON conversations (tier);
CREATE INDEX IF NOT EXISTS idx_conversations_quality_score ON conversations (quality_score DESC);
CREATE INDEX IF NOT EXISTS idx_conversations_created_at ON conversations (created_at DESC);
CREATE INDEX IF NOT EXISTS idx_conversations_created_by ON conversations (created_by);
CREATE INDEX IF NOT EXISTS idx_conversations_approved_by ON conversations (approved_by);
CREATE INDEX IF NOT EXISTS idx_conversations_document_id ON conversations (document_id);
CREATE INDEX IF NOT EXISTS idx_conversations_chunk_id ON conversations (chunk_id);
CREATE INDEX IF NOT EXISTS idx_conversations_parent_id ON conversations (parent_id);
CREATE INDEX IF NOT EXISTS idx_conversations_template_id ON conversations (template_id);
CREATE INDEX IF NOT EXISTS idx_conversations_batch_job_id ON conversations (batch_job_id);
CREATE INDEX IF NOT EXISTS idx_conversations_status_quality ON conversations (status, quality_score DESC);
CREATE INDEX IF NOT EXISTS idx_conversations_tier_status_created
  ON conversations (tier, status, created_at DESC);
CREATE INDEX IF NOT EXISTS idx_conversations_category ON conversations USING gin (category);
CREATE INDEX IF NOT EXISTS idx_conversations_quality_metrics ON conversations USING gin (quality_metrics);
CREATE INDEX IF NOT EXISTS idx_conversations_text ON conversations
  USING gin (to_tsvector('english', title || ' ' || persona || ' ' || emotion));
CREATE INDEX IF NOT EXISTS idx_conversations_pending_review ON conversations (quality_score DESC)
  WHERE status = 'pending_review';
CREATE INDEX IF NOT EXISTS idx_conversation_turns_created_at ON conversation_turns (created_at);
CREATE INDEX IF NOT EXISTS idx_conversation_templates_category ON conversation_templates (category);
CREATE INDEX IF NOT EXISTS idx_conversation_templates_rating ON conversation_templates (rating DESC);
CREATE INDEX IF NOT EXISTS idx_conversation_templates_active ON conversation_templates (tier, template_name)
  WHERE is_active;
CREATE INDEX IF NOT EXISTS idx_conversation_templates_variables
  ON conversation_templates USING gin (variables);
CREATE INDEX IF NOT EXISTS idx_conversation_templates_personas
  ON conversation_templates USING gin (applicable_personas);
CREATE INDEX IF NOT EXISTS idx_conversation_templates_emotions
  ON conversation_templates USING gin (applicable_emotions);
CREATE INDEX IF NOT EXISTS idx_conversation_templates_topics
  ON conversation_templates USING gin (applicable_topics);
CREATE INDEX IF NOT EXISTS idx_scenarios_parent_template_id ON scenarios (parent_template_id);
CREATE INDEX IF NOT EXISTS idx_scenarios_status ON scenarios (status);
CREATE INDEX IF NOT EXISTS idx_scenarios_parameter_values ON scenarios USING gin (parameter_values);
CREATE INDEX IF NOT EXISTS idx_edge_cases_parent_template_id ON edge_cases (parent_template_id);
CREATE INDEX IF NOT EXISTS idx_edge_cases_risk_level ON edge_cases (risk_level);
CREATE INDEX IF NOT EXISTS idx_edge_cases_untested ON edge_cases (risk_level) WHERE NOT tested;
CREATE INDEX IF NOT EXISTS idx_batch_jobs_status ON batch_jobs (status, created_at DESC);
CREATE INDEX IF NOT EXISTS idx_batch_jobs_created_by ON batch_jobs (created_by);
CREATE INDEX IF NOT EXISTS idx_generation_logs_conversation_id ON generation_logs (conversation_id);
CREATE INDEX IF NOT EXISTS idx_generation_logs_template_id ON generation_logs (template_id);
CREATE INDEX IF NOT EXISTS idx_generation_logs_created_at ON generation_logs (created_at DESC);
CREATE INDEX IF NOT EXISTS idx_generation_logs_failed ON generation_logs (created_at DESC)
  WHERE error_message IS NOT NULL;
CREATE INDEX IF NOT EXISTS idx_export_logs_user_id ON export_logs (user_id, created_at DESC);
CREATE INDEX IF NOT EXISTS idx_export_logs_expires_at ON export_logs (expires_at);
CREATE INDEX IF NOT EXISTS idx_export_logs_conversation_ids ON export_logs USING gin (conversation_ids);

-- Triggers.

CREATE OR REPLACE FUNCTION touch_updated_at() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
  NEW.updated_at := now();
  RETURN NEW;
END
$$;

CREATE OR REPLACE FUNCTION flag_low_quality() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
  IF NEW.quality_score < 6.0 AND NEW.status IN ('generated', 'pending_review') THEN
    NEW.status := 'needs_revision';
    NEW.review_history := NEW.review_history || jsonb_build_object(
      'action', 'flagged', 'at', now(), 'reason', format('quality score %s is below 6.0', NEW.quality_score));
  END IF;
  RETURN NEW;
END
$$;

CREATE OR REPLACE TRIGGER conversations_updated_at BEFORE UPDATE ON conversations
  FOR EACH ROW EXECUTE FUNCTION touch_updated_at();
CREATE OR REPLACE TRIGGER conversation_templates_updated_at BEFORE UPDATE ON conversation_templates
  FOR EACH ROW EXECUTE FUNCTION touch_updated_at();
CREATE OR REPLACE TRIGGER scenarios_updated_at BEFORE UPDATE ON scenarios
  FOR EACH ROW EXECUTE FUNCTION touch_updated_at();
CREATE OR REPLACE TRIGGER edge_cases_updated_at BEFORE UPDATE ON edge_cases
  FOR EACH ROW EXECUTE FUNCTION touch_updated_at();
CREATE OR REPLACE TRIGGER batch_jobs_updated_at BEFORE UPDATE ON batch_jobs
  FOR EACH ROW EXECUTE FUNCTION touch_updated_at();
CREATE OR REPLACE TRIGGER conversations_low_quality BEFORE INSERT OR UPDATE OF quality_score, status
  ON conversations FOR EACH ROW EXECUTE FUNCTION flag_low_quality();

-- Row level security: everybody works on the rows of their own; templates are for all to read.

-- '' is what a transaction-local setting leaves behind in its session.
CREATE OR REPLACE FUNCTION request_user_id() RETURNS uuid LANGUAGE sql STABLE AS $$
  SELECT (nullif(current_setting('request.jwt.claims', true), '')::jsonb ->> 'sub')::uuid
$$;

ALTER TABLE conversations ENABLE ROW LEVEL SECURITY;
ALTER TABLE conversation_turns ENABLE ROW LEVEL SECURITY;
ALTER TABLE conversation_templates ENABLE ROW LEVEL SECURITY;
ALTER TABLE scenarios ENABLE ROW LEVEL SECURITY;
ALTER TABLE edge_cases ENABLE ROW LEVEL SECURITY;
ALTER TABLE batch_jobs ENABLE ROW LEVEL SECURITY;
ALTER TABLE generation_logs ENABLE ROW LEVEL SECURITY;
ALTER TABLE export_logs ENABLE ROW LEVEL SECURITY;

-- The sub-select makes the planner ask for the user once per statement, not once per row.
DROP POLICY IF EXISTS own_rows ON conversations;
CREATE POLICY own_rows ON conversations USING (created_by = (SELECT request_user_id()));
DROP POLICY IF EXISTS own_rows ON conversation_turns;
CREATE POLICY own_rows ON conversation_turns USING (EXISTS (
  SELECT FROM conversations c
  WHERE c.id = conversation_turns.conversation_id AND c.created_by = (SELECT request_user_id())));
DROP POLICY IF EXISTS own_rows ON conversation_templates;
CREATE POLICY own_rows ON conversation_templates USING (created_by = (SELECT request_user_id()));
DROP POLICY IF EXISTS active_for_all ON conversation_templates;
CREATE POLICY active_for_all ON conversation_templates FOR SELECT USING (is_active);
DROP POLICY IF EXISTS own_rows ON scenarios;
CREATE POLICY own_rows ON scenarios USING (created_by = (SELECT request_user_id()));
DROP POLICY IF EXISTS own_rows ON edge_cases;
CREATE POLICY own_rows ON edge_cases USING (created_by = (SELECT request_user_id()));
DROP POLICY IF EXISTS own_rows ON batch_jobs;
CREATE POLICY own_rows ON batch_jobs USING (created_by = (SELECT request_user_id()));
DROP POLICY IF EXISTS own_rows ON generation_logs;
CREATE POLICY own_rows ON generation_logs USING (created_by = (SELECT request_user_id()));
DROP POLICY IF EXISTS own_rows ON export_logs;
CREATE POLICY own_rows ON export_logs USING (user_id = (SELECT request_user_id()));

-- Supabase's default privileges do this in `public`; elsewhere it has to be said.
DO $$
DECLARE
  grantee text;
BEGIN
  FOR grantee IN SELECT rolname FROM pg_roles WHERE rolname IN ('authenticated', 'service_role') LOOP
    EXECUTE format('GRANT SELECT, INSERT, UPDATE, DELETE ON conversations, conversation_turns,
      conversation_templates, scenarios, edge_cases, batch_jobs, generation_logs, export_logs TO %I', grantee);
  END LOOP;
END
$$;

-- Three templates to begin with.

INSERT INTO conversation_templates (template_name, description, category, tier, template_text, structure,
  variables, tone, complexity_baseline, applicable_personas, applicable_emotions, applicable_topics, rating)
VALUES
  ('Retirement triage', 'First talk about a late start', 'planning', 'template',
   'A {{persona}} asks about {{topic}} and feels {{emotion}}. The advisor listens, asks and explains.',
   'opening, question, explanation, next step',
   '{"persona": {"required": true}, "topic": {"required": true}, "emotion": {"default": "anxious"}}',
   'warm', 5, '{anxious planner,overwhelmed parent}', '{anxious,hopeful}', '{retirement,savings}', 4.5),
  ('Inheritance conflict', 'Siblings disagree about a house', 'family', 'scenario',
   'A {{persona}} has inherited {{asset}} together with others, feels {{emotion}} and wants {{intent}}.',
   'opening, conflict, options, decision, follow-up',
   '{"persona": {"required": true}, "asset": {"default": "a house"}, "intent": {"default": "to be fair"}}',
   'patient', 7, '{grieving heir,overwhelmed parent}', '{sad,angry}', '{inheritance,housing}', 4.2),
  ('Panic selling', 'Somebody sells everything in a falling market', 'investing', 'edge_case',
   'A {{persona}} writes late at night, {{emotion}}, and wants to sell {{asset}} at once.',
   'opening, urgency, calm, facts, next step',
   '{"persona": {"required": true}, "asset": {"default": "all funds"}, "emotion": {"default": "afraid"}}',
   'calm', 9, '{impulsive investor,anxious planner}', '{afraid,angry}', '{markets,debt}', 3.9)
ON CONFLICT (template_name) DO NOTHING;

COMMIT;
