-- Every pair of conversations compared: it never ends in time and statement_timeout cancels it (57014).
SET statement_timeout = '300ms';
SELECT a.id, b.id
FROM conversations a
JOIN conversations b ON b.id > a.id AND position(b.title IN a.title || a.description) > 0
/*route='/api/conversations/similar',traceparent='00-321cf373085b8aa5a2d2c872e8000002-051581bf3cb55c13-01'*/;
RESET statement_timeout;
