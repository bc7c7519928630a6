-- Many tables, each with two indexes: two thirds of one page, a third of 10 to 100, one of a hundred of 2000.
-- A quarter of them lost 30 % of their rows.
CREATE SCHEMA many;

CREATE PROCEDURE create_tables(first integer, last integer) LANGUAGE plpgsql AS $$
BEGIN
  FOR n IN first .. last LOOP
    EXECUTE format(
      'CREATE TABLE many.t%1$s AS SELECT id, (random() * 1e9)::integer AS number, rpad('''', 84, ''x'')::char(84) AS filler
         FROM generate_series(1, %2$s) AS id', n,
      65 * CASE WHEN n % 100 = 0 THEN 2000 WHEN n % 10 = 0 THEN 100 WHEN n % 3 = 0 THEN 10 ELSE 1 END);
    EXECUTE format('CREATE UNIQUE INDEX ON many.t%s (id)', n);
    EXECUTE format('CREATE INDEX ON many.t%s (number)', n);
    IF n % 4 = 0 THEN
      EXECUTE format('DELETE FROM many.t%s WHERE random() < 0.3', n);
    END IF;
    COMMIT;
  END LOOP;
END
$$;
