-- The roles that every Supabase project has already, for a plain PostgreSQL server.
--
--   psql -f roles.sql
--
-- PostgREST logs in as authenticator and changes to anon or authenticated for each request; the platform's
-- own server code works as service_role, to which row level security does not apply.

BEGIN;
SET LOCAL client_min_messages = warning;

DO $$
DECLARE
  wanted record;
BEGIN
  FOR wanted IN
    SELECT * FROM (VALUES ('anon', 'NOLOGIN NOINHERIT'), ('authenticated', 'NOLOGIN NOINHERIT'),
                          ('service_role', 'NOLOGIN NOINHERIT BYPASSRLS'),
                          ('authenticator', 'LOGIN NOINHERIT')) AS supabase(role, options)
    WHERE NOT EXISTS (SELECT FROM pg_catalog.pg_roles WHERE rolname = role)
  LOOP
    EXECUTE pg_catalog.format('CREATE ROLE %I %s', wanted.role, wanted.options);
  END LOOP;
END
$$;

GRANT anon, authenticated, service_role TO authenticator;

COMMIT;
