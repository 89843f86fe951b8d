//! Entities, sources, views and services.

use super::check;

#[test]
fn entities_have_one_key_of_a_type_that_is_said_found_or_guessed() {
    for (python, written, said) in [
        (
            "e = Entity(name='order', join_keys=['order_no'], value_type=ValueType.STRING)",
            "name = \"order\"\njoin_keys = [{ name = \"order_no\", type = \"string\" }]",
            None,
        ),
        (
            "e = Entity(name='order', value_type=ValueType.INT32)",
            "join_keys = [{ name = \"order\", type = \"int64\" }]",
            None,
        ),
        (
            "e = Entity('order', join_key='order_no', value_type=ValueType.STRING)",
            "join_keys = [{ name = \"order_no\", type = \"string\" }]",
            None,
        ),
        (
            "e = Entity(name='order', join_keys=['no'])
v = FeatureView(name='o', entities=[e], schema=[Field(name='no', dtype=String), Field(name='y', dtype=Bool)], source=events)",
            "join_keys = [{ name = \"no\", type = \"string\" }]",
            None,
        ),
        (
            "e = Entity(name='order', join_keys=['order_id'], value_type=ValueType.UNKNOWN)",
            "join_keys = [{ name = \"order_id\", type = \"int64\" }]",
            Some("repo.py:9: entity `order`: nothing says of which type `order_id` is: `int64` is a guess by its name"),
        ),
        (
            "e = Entity(name='order')",
            "join_keys = [{ name = \"order\", type = \"string\" }]",
            Some("`string` is a guess by its name"),
        ),
        (
            "e = Entity(name='order', value_type=ValueType.BOOL)",
            "",
            Some("entity `order`: its join key `order` is of type bool, and keys are texts or integers"),
        ),
        (
            "e = Entity(name='order', join_keys=['a', 'b'], value_type=ValueType.INT64)",
            "",
            Some("several join keys"),
        ),
        (
            "e = Entity(name='an-order', join_keys=['no'], value_type=ValueType.INT64)",
            "name = \"an_order\"",
            Some("entity `an-order`: it is called `an_order` here"),
        ),
        (
            "e = Entity(name='order', value_type=ValueType.INT64, description='Bought\\nonce', tags={'a': 'b', 'c': 'd'})",
            "# repo.py:9; tags: a=b, c=d\n# description: Bought\u{fffd}once\n[[entity]]",
            None,
        ),
    ] {
        check(python, &[written], said.as_slice());
    }
}

#[test]
fn sources_are_tables_and_queries_of_postgres() {
    let view = "v = FeatureView(name='v', entities=[user], schema=[Field(name='x', dtype=Int64)], source=s)";
    for (source, written, said) in [
        (
            "PostgreSQLSource(name='s', table='marts.s', timestamp_field='at', created_timestamp_column='loaded')",
            "name = \"s\"\ntable = \"marts.s\"\nevent_timestamp = \"at\"\ncreated_timestamp = \"loaded\"",
            None,
        ),
        (
            "PostgreSQLSource(table='marts.s', timestamp_field='at')",
            "name = \"marts_s\"\ntable = \"marts.s\"",
            Some("source `marts.s`: it is called `marts_s` here"),
        ),
        (
            "PostgreSQLSource(name='s', query='select * from s ;', event_timestamp_column='at', created_timestamp_column='')",
            "table = \"s\"\nevent_timestamp = \"at\"\n",
            None,
        ),
        (
            "PostgreSQLSource(name='s', query=\"SELECT x, 'a' AS k FROM t\\nWHERE y\", timestamp_field='at')",
            "-- From Feast's repo.py:9.\nSELECT x, 'a' AS k FROM t\nWHERE y\n",
            None,
        ),
        (
            "PostgreSQLSource(name='s', table='Orders', timestamp_field='at')",
            "SELECT * FROM Orders\n",
            None,
        ),
        (
            "PostgreSQLSource(name='s', table='s', timestamp_field='ts', field_mapping={'day': 'ts', 'raw_x': 'x', 'uid': 'user'})",
            "event_timestamp = \"day\"",
            None,
        ),
        (
            "PostgreSQLSource(name='s', table='s')",
            "",
            Some("source `s`: it has no `timestamp_field`"),
        ),
        (
            "PostgreSQLSource(name='s', timestamp_field='at')",
            "",
            Some("source `s`: it has neither `table` nor `query`"),
        ),
        (
            "PostgreSQLSource(name='s', table='s', timestamp_field='at', field_mapping=os.environ['X'])",
            "",
            Some("its `field_mapping` is"),
        ),
        (
            "PostgreSQLSource(name='events', table='other', timestamp_field='at')",
            "source = \"events\"",
            Some("source `events`: there is a source of this name already"),
        ),
        (
            "FileSource(name='s', path='s.parquet', timestamp_field='at')",
            "",
            Some("feature view `v`: its source `s` is a FileSource"),
        ),
        (
            "RequestSource(name='s', schema=[])",
            "",
            Some("feature view `v`: its source `s` is a RequestSource"),
        ),
        ("view", "", Some("feature view `v`: it is made of other feature views")),
        (
            "[view]",
            "",
            Some("feature view `v`: it is made of other feature views"),
        ),
        ("None", "", Some("feature view `v`: it has no source")),
    ] {
        check(&format!("s = {source}\n{view}"), &[written], said.as_slice());
    }
    let mapped = "s = PostgreSQLSource(name='s', table='s', timestamp_field='ts', field_mapping={'raw_x': 'x', 'uid': 'user'})\n";
    let written = [
        "columns = { user = \"uid\" }",
        "{ name = \"x\", type = \"int64\", column = \"raw_x\" }",
    ];
    check(&format!("{mapped}{view}"), &written, &[]);
}

#[test]
fn rows_are_pushed_to_tables() {
    let pushed = "p = PushSource(name='p', batch_source=events)
v = FeatureView(name='v', entities=[user], schema=[Field(name='x', dtype=Int64)], source=p)";
    check(
        pushed,
        &["table = \"events\"\nevent_timestamp = \"at\"\npush_to = \"events\""],
        &["push source `p`: rows are pushed to source `events`"],
    );
    let query = "q = PostgreSQLSource(name='q', query='SELECT 1', timestamp_field='at')\n";
    check(
        &format!("{query}p = PushSource(name='p', batch_source=q)"),
        &["sql = \"q.sql\"\nevent_timestamp = \"at\"\n"],
        &["push source `p`: source `q` is a query", "add `push_to`"],
    );
    check(
        "p = PushSource(name='p')",
        &[],
        &["push source `p`: it has no `batch_source`"],
    );
    check(
        "k = KafkaSource(name='k', batch_source=events)
v = FeatureView(name='v', entities=[user], schema=[Field(name='x', dtype=Int64)], source=k)",
        &["name = \"v\"\nentity = \"user\"\nsource = \"events\""],
        &["feature view `v`: it is carried over from its batch source: no KafkaSource is read"],
    );
}

#[test]
fn views_are_rows_of_a_source() {
    let x = "schema=[Field(name='x', dtype=Int64)]";
    for (view, written, said) in [
        (
            "FeatureView(name='v', entities=[user], ttl=timedelta(weeks=1), X, source=events)",
            "ttl = \"7d\"",
            None,
        ),
        (
            "FeatureView(name='v', entities=[user], ttl=timedelta(1, 30), X, source=events)",
            "ttl = \"86430s\"",
            None,
        ),
        (
            "FeatureView(name='v', entities=[user], ttl=timedelta(hours=1.5), X, source=events)",
            "ttl = \"90m\"",
            None,
        ),
        (
            "FeatureView(name='v', entities=[user], ttl=timedelta(days=0), X, source=events)",
            "source = \"events\"\nfeatures",
            None,
        ),
        (
            "FeatureView(name='v', entities=[user], ttl=None, X, source=events)",
            "source = \"events\"\nfeatures",
            None,
        ),
        (
            "FeatureView(name='v', entities=[user], ttl=timedelta(days=int(os.environ['D'])), X, source=events)",
            "",
            Some("feature view `v`: its `ttl` is what `int(…)` gives, and known only when the code runs"),
        ),
        (
            "FeatureView(name='v', entities=['user'], features=[Feature('x', ValueType.FLOAT)], batch_source=events)",
            "{ name = \"x\", type = \"float32\" }",
            None,
        ),
        (
            "FeatureView(name='v', entities=[user], X, source=events, description='d \"q\"', owner='o', tags={'a': 'b'})",
            "# repo.py:9; tags: a=b\n[[feature_view]]\nname = \"v\"\nentity = \"user\"\nsource = \"events\"\ndescription = \"d \\\"q\\\"\"\nowner = \"o\"\n",
            None,
        ),
        (
            "FeatureView(name='v', entities=[], X, source=events)",
            "",
            Some("feature view `v`: it has no entity"),
        ),
        (
            "FeatureView(name='v', X, source=events)",
            "",
            Some("feature view `v`: it has no entity"),
        ),
        (
            "FeatureView(name='v', entities=[user], source=events)",
            "",
            Some("its schema names no feature"),
        ),
        (
            "FeatureView(name='v', entities=[user], schema=[Field(name='user', dtype=Int64)], source=events)",
            "",
            Some("its schema names no feature"),
        ),
        (
            "FeatureView(name='v', entities=[user], schema=[Field(name='j', dtype=Json)], source=events)",
            "",
            Some("feature `j` of feature view `v`: it is of type Json, which has no counterpart"),
        ),
        (
            "FeatureView(name='v', entities=[user], schema=[Field(name=os.environ['N'], dtype=Json), Field(name='x', dtype=Int64)], source=events)",
            "{ name = \"x\", type = \"int64\" },\n]",
            Some("a field of feature view `v`: its name is"),
        ),
        (
            "FeatureView(name='request', entities=[user], X, source=events)",
            "name = \"request_2\"",
            Some("feature view `request`: it is called `request_2` here"),
        ),
        (
            "FeatureView(name='view', entities=[user], X, source=events)",
            "",
            Some("feature view `view`: there is a view of this name already"),
        ),
        (
            "FeatureView(name='v', entities=[user], X, source=events, version='v2')",
            "name = \"v\"",
            Some("it is pinned to version v2"),
        ),
        (
            "BatchFeatureView(name='v', entities=[user], X, source=events, online=True)",
            "name = \"v\"",
            None,
        ),
        (
            "BatchFeatureView(name='v', entities=[user], X, source=events)",
            "name = \"v\"",
            Some("it is not kept online in Feast"),
        ),
        (
            "BatchFeatureView(name='v', entities=[user], X, source=events, udf=len)",
            "",
            Some("feature view `v`: its features are computed by a Python function"),
        ),
        (
            "StreamFeatureView(name='v', entities=[user], X, source=PushSource(name='p', batch_source=events))",
            "name = \"v\"",
            Some("push source `p`"),
        ),
        (
            "StreamFeatureView(name='v', entities=[user], X, source=events, aggregations=[Aggregation(column='x')])",
            "",
            Some("feature view `v`: it aggregates events"),
        ),
    ] {
        check(&format!("v = {}", view.replace('X', x)), &[written], said.as_slice());
    }
    let decorated = format!("@batch_feature_view(entities=[user], {x}, source=events)\ndef v(df):\n    return df");
    check(
        &decorated,
        &[],
        &["feature view `v`: its features are computed by a Python function"],
    );
}

#[test]
fn several_entities_are_one_of_all_their_keys() {
    let shop = "shop = Entity(name='shop', join_keys=['shop_id'], value_type=ValueType.STRING)
a = FeatureView(name='a', entities=[user, shop], schema=[Field(name='x', dtype=Int64)], source=events)
b = FeatureView(name='b', entities=[shop, user], schema=[Field(name='x', dtype=Int64)], source=events)
s = FeatureService(name='s', features=[a.with_name('before').with_join_key_map({'shop_id': 'last_shop'}), b])";
    check(
        shop,
        &[
            "[[entity]]\nname = \"user_shop\"\njoin_keys = [{ name = \"user\", type = \"int64\" }, { name = \"shop_id\", type = \"string\" }]",
            "name = \"a\"\nentity = \"user_shop\"",
            "name = \"b\"\nentity = \"user_shop\"",
            "{ view = \"a\", as = \"before\", keys = { shop_id = \"last_shop\" } }",
        ],
        &["repo.py:10: entities user, shop: views that have all of these are about the entity `user_shop`"],
    );
    let shared = "also = Entity(name='also', join_keys=['user'], value_type=ValueType.INT64)
a = FeatureView(name='a', entities=[user, also], schema=[Field(name='x', dtype=Int64)], source=events)";
    check(
        shared,
        &[],
        &["feature view `a`: its entities user, also share a join key"],
    );
}

#[test]
fn services_list_features_of_views() {
    let wide = "w = FeatureView(name='w', entities=[user], schema=[Field(name='a', dtype=Int64), Field(name='b', dtype=Json), Field(name='c', dtype=Bool)], source=events)\n";
    for (features, written, said) in [
        (
            "[view]",
            "features = [\n  \"view:x\",\n]",
            "feature `b` of feature view `w`",
        ),
        (
            "[w, view]",
            "features = [\n  \"w:a\",\n  \"w:c\",\n  \"view:x\",\n]",
            "",
        ),
        (
            "[w[['c', 'a']], w[['a']]]",
            "features = [\n  \"w:c\",\n  \"w:a\",\n]",
            "",
        ),
        (
            "['w:c', 'view', 'view@latest:x']",
            "features = [\n  \"w:c\",\n  \"view:x\",\n]",
            "",
        ),
        (
            "[w[['a', 'b']]]",
            "features = [\n  \"w:a\",\n]",
            "feature `b` of `w` in feature service `s`",
        ),
        (
            "['view@v2:x', w]",
            "# Without `view@v2:x`",
            "`view@v2:x` in feature service `s`: no feature view `view@v2`",
        ),
        (
            "[view.with_name('other')]",
            "joins = [\n  { view = \"view\", as = \"other\" },\n]\nfeatures = [\n  \"other:x\",\n]",
            "",
        ),
        (
            "[view, view.with_join_key_map({'user': 'friend'}).with_name('friend')]",
            "joins = [\n  { view = \"view\" },\n  { view = \"view\", as = \"friend\", keys = { user = \"friend\" } },\n]",
            "",
        ),
        (
            "[view.with_join_key_map({'user': 'friend'})]",
            "joins = [\n  { view = \"view\", keys = { user = \"friend\" } },\n]",
            "",
        ),
        (
            "[view, view.with_join_key_map({'user': 'friend'})]",
            "# Without `view`",
            "the service uses `view` already, with other keys or of another view",
        ),
        ("[view.with_name('w')]", "as = \"w_2\"", "`w`: it is called `w_2` here"),
        (
            "[w.with_projection(FeatureViewProjection(name='w', name_alias='z', desired_features=['c'], features=[]))]",
            "as = \"z\" },\n]\nfeatures = [\n  \"z:c\",\n]",
            "",
        ),
        (
            "[view.without(1), w]",
            "# Without `view`",
            "what `without` makes of a view is not known here",
        ),
        (
            "[events, w]",
            "# Without `events`",
            "it is of `PostgreSQLSource`, and no feature view",
        ),
        (
            "[nothing(), w]",
            "# Without what `nothing(…)` gives: it is not carried over.",
            "what `nothing(…)` gives in feature service `s`: it is what `nothing(…)` gives, and known only when",
        ),
        ("[]", "", "feature service `s`: none of its features is carried over"),
        ("os.environ['F']", "", "feature service `s`: its `features` is"),
    ] {
        check(
            &format!("{wide}s = FeatureService(name='s', features={features})"),
            &[written],
            &[said],
        );
    }
}

#[test]
fn keys_of_one_name_have_one_type_in_a_service() {
    let other = "text = Entity(name='text', join_keys=['user_key'], value_type=ValueType.STRING)
t = FeatureView(name='t', entities=[text], schema=[Field(name='y', dtype=Bool)], source=events)
s = FeatureService(name='s', features=[view, t.with_join_key_map({'user_key': 'user'})])";
    check(
        other,
        &["features = [\n  \"view:x\",\n]"],
        &[
            "its key `user` is of type string, and the service has that name as int64",
            "with_join_key_map",
        ],
    );
}

#[test]
fn on_demand_views_leave_their_request_features_behind() {
    let ratio = "r = RequestSource(name='r', schema=[Field(name='asked', dtype=Float64), Field(name='request_time', dtype=Int64), Field(name='doc', dtype=Json)])
@on_demand_feature_view(sources=[view, r], schema=[Field(name='p', dtype=Float64), Field(name='q', dtype=Float64)])
def ratio(inputs):
    return inputs
s = FeatureService(name='s', features=[view, ratio[['p']]])
only = FeatureService(name='only', features=[ratio])";
    check(
        ratio,
        &[
            "# Without `ratio` (p, q): it is not carried over.\n[[feature_service]]\nname = \"s\"",
            "request = [{ name = \"asked\", type = \"float64\" }, { name = \"request_time_2\", type = \"int64\" }]",
        ],
        &[
            "repo.py:11: on-demand feature view `ratio`: it is Python code that runs at every request; without it are written: s",
            "write `[[derived]]` features, each an expression, for p, q, and add them to those services",
            "request feature `request_time`: it is called `request_time_2` here",
            "a request feature of `r`: it is of type Json",
            "feature service `only`: none of its features is carried over",
        ],
    );
    let old = "r = RequestSource(name='r', schema=[Field(name='asked', dtype=Float64)])
o = OnDemandFeatureView(name='o', sources={'view': view, 'r': r}, schema=[Field(name='p', dtype=Float64)], udf=len)
s = FeatureService(name='s', features=[view, o])";
    check(
        old,
        &["request = [{ name = \"asked\", type = \"float64\" }]"],
        &["on-demand feature view `o`"],
    );
}

#[test]
fn what_has_no_counterpart_is_said() {
    for (python, said) in [
        (
            "p = Permission(name='p', types=[FeatureView])",
            "Permission `p`: there are no permissions",
        ),
        ("l = LabelView(name='l')", "LabelView `l`: there are no label views"),
        (
            "d = SavedDataset(name='d')",
            "SavedDataset `d`: there are no saved datasets",
        ),
        ("f = FileSource(name='f', path='f')", "source `f`: it is a FileSource"),
        (
            "view.ttl = timedelta(days=1)",
            "the change of `ttl` of FeatureView `view`: it is made after the object is",
        ),
    ] {
        check(python, &[], &[said]);
    }
}
